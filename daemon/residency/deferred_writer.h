#ifndef WEIGHTD_DAEMON_RESIDENCY_DEFERRED_WRITER_H_
#define WEIGHTD_DAEMON_RESIDENCY_DEFERRED_WRITER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace weightd {

struct DeferredWriterOptions {
  std::string name = "writer";                        // of its thread
  absl::Duration interval = absl::Seconds(5);         // between writings, and until a retry
  absl::Duration renewal = absl::InfiniteDuration();  // written anew though nothing changed
};

// What a file's writer does, on the writer's thread.
struct DeferredWriterParts {
  // What the file is to hold now. It may use its owner: it is not called after Stop().
  std::function<std::string()> format;
  // Puts that on the disk. It may hang, and then outlives the writer: it owns all that it uses,
  // and asks the volume by volume calls, so that the process can end without it.
  std::function<absl::Status(const std::string& content)> store;
  // Tries once, before anything has changed, whether it could be stored, and leaves nothing. As
  // `store`; absent: nothing is tried.
  std::function<absl::Status()> probe = {};
  // Told of the first failure of several in a row, and, with OK, of the first success after it. As
  // `format`; it must not block.
  std::function<void(const absl::Status&)> on_change;
};

// Writes a file of the daemon's when what it tells has changed: at once where that matters, else at
// most once in a while, and a last time at the end. What fails is tried again after that while, so
// that a disk that is full or away for some time loses nothing. On a thread of its own: nobody
// waits for the disk who does not ask to, and then no longer than they say. One that hangs is left
// behind at the end.
//
// Thread-safe.
class DeferredWriter {
 public:
  static absl::StatusOr<std::unique_ptr<DeferredWriter>> Start(DeferredWriterParts parts,
                                                               DeferredWriterOptions options);
  DeferredWriter(const DeferredWriter&) = delete;
  DeferredWriter& operator=(const DeferredWriter&) = delete;
  // Stop(kStopTimeout), unless that was done.
  ~DeferredWriter();

  void Changed(bool at_once);

  // Waits for the end of the probe; false when that takes longer.
  bool AwaitProbe(absl::Duration timeout);

  // Waits until what is true now is on the disk, or cannot be put there: then why.
  // DEADLINE_EXCEEDED when that takes longer, and at once while the file is known to hang for as
  // long already.
  absl::Status Flush(absl::Duration timeout);

  // Begins a Stop() and does not wait for its end: for who stops several.
  void BeginStop();

  static constexpr absl::Duration kStopTimeout = absl::Seconds(2);
  // Writes what changed a last time, and ends the thread. DEADLINE_EXCEEDED when it hangs, at once
  // where it did for as long already, or the error of the last attempt, when what changed last is
  // not on the disk.
  absl::Status Stop(absl::Duration timeout = kStopTimeout);

  struct State {
    absl::Status error;        // of the last attempt, or of one that hangs; OK: the file is right
    absl::Time failing_since;  // with an error
    absl::Time stored_time;    // of the last success; the past for ever without one
  };
  State state() const;

 private:
  struct Shared;

  explicit DeferredWriter(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  static void Run(Shared& shared);
  // One attempt, which begins at the store's probe or with what there is to write. False when the
  // writer is gone meanwhile.
  static bool Probe(Shared& shared);
  static bool Write(Shared& shared);
  static bool Attempt(Shared& shared, const std::function<absl::Status()>& store, uint64_t flushes);

  const std::shared_ptr<Shared> shared_;  // the thread's too, which may outlive the writer
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_DEFERRED_WRITER_H_
