#ifndef WEIGHTD_DAEMON_RESIDENCY_SCRUBBER_H_
#define WEIGHTD_DAEMON_RESIDENCY_SCRUBBER_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/executor.h"
#include "daemon/residency/residency_table.h"
#include "daemon/residency/verifier.h"

namespace weightd {

struct ScrubOptions {
  absl::Duration interval = absl::ZeroDuration();  // between rounds, 1 s or more; zero: never
  uint64_t bytes_per_second = 200'000'000;         // of reading memory again; 0 is no limit
  absl::Status Validate() const;
};

// Verifies everything that is resident, copy by copy, again and again, on a thread of its own. What
// it finds is told as Verifier does.
class Scrubber {
 public:
  // All outlive it.
  Scrubber(const ScrubOptions& options, ResidencyTable& table, Verifier& verifier,
           Executor& executor)
      : options_(options), table_(table), verifier_(verifier), executor_(executor) {}
  // Begins, unless the interval is 0. Fails when the thread cannot be had.
  absl::Status Start();
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;
  // Ends the round that runs.
  ~Scrubber();

 private:
  void Loop();
  void Round();
  bool stops() const;

  const ScrubOptions options_;
  ResidencyTable& table_;
  Verifier& verifier_;
  Executor& executor_;
  mutable absl::Mutex mu_;
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  TaskHandle thread_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_SCRUBBER_H_
