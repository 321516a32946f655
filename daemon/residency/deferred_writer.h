#ifndef WEIGHTD_DAEMON_RESIDENCY_DEFERRED_WRITER_H_
#define WEIGHTD_DAEMON_RESIDENCY_DEFERRED_WRITER_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace weightd {

// Writes a file of the daemon's when what it tells has changed: at once where that matters, else at
// most once in a while, and a last time at the end. What fails is tried again after that while. On
// a thread of its own, so that nobody waits for the disk.
//
// Thread-safe.
class DeferredWriter {
 public:
  // `write` is called on the writer's thread. `on_failure` is told of the first of several failures
  // in a row. After `renewal` it is written anew although nothing changed; a multiple of
  // `interval`.
  DeferredWriter(std::function<absl::Status()> write,
                 std::function<void(const absl::Status&)> on_failure,
                 absl::Duration interval = absl::Seconds(5),
                 absl::Duration renewal = absl::InfiniteDuration());
  DeferredWriter(const DeferredWriter&) = delete;
  DeferredWriter& operator=(const DeferredWriter&) = delete;
  ~DeferredWriter();

  void Changed(bool at_once);

 private:
  void Run();
  bool Write();

  const std::function<absl::Status()> write_;  // these are fixed at construction
  const std::function<void(const absl::Status&)> on_failure_;
  const absl::Duration interval_;
  const absl::Duration renewal_;
  bool failing_ = false;                         // the thread's
  absl::Time written_ = absl::InfiniteFuture();  // likewise

  absl::Mutex mu_;  // never held while the file is written
  bool changed_ ABSL_GUARDED_BY(mu_) = false;
  bool at_once_ ABSL_GUARDED_BY(mu_) = false;
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_DEFERRED_WRITER_H_
