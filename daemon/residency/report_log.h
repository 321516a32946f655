#ifndef WEIGHTD_DAEMON_RESIDENCY_REPORT_LOG_H_
#define WEIGHTD_DAEMON_RESIDENCY_REPORT_LOG_H_

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/listener.h"
#include "daemon/residency/generation.h"

namespace weightd {

// Stages that are kept: an operator who asks has seen the last of them go wrong.
inline constexpr size_t kReportsKept = 32;

struct StagedPlace {
  std::string device;
  DeviceKind kind = DeviceKind::kHost;
  uint64_t bytes = 0;
};

// One stage that has ended, well or not.
struct StageRecord {
  std::string model;
  std::vector<std::string> devices;
  absl::Time end_time;
  absl::Status status;
  GenerationId generation;  // valid when status is OK
  StageReport report;       // of a failed one, the job alone
  // Where the copies went: of one that was done.
  std::vector<StagedPlace> places;
  bool already_resident = false;  // nothing was done
};

// The last stages that read something or failed. Thread-safe.
class ReportLog {
 public:
  // Called with each stage that has ended, without locks: must be quick and must not call back.
  using Call = Listener<StageRecord>::Call;

  // When this returns, the listener before is not called any more; null is none.
  void set_listener(Call listener) { listener_.Set(std::move(listener)); }

  // Tells of it without keeping it. The listener knows when this returns.
  void Tell(StageRecord record) { listener_.Tell(std::move(record)); }

  // Likewise, and keeps it.
  void Add(StageRecord record) {
    Tell(record);
    std::deque<StageRecord> forgotten;  // goes after the lock
    absl::MutexLock lock(&mu_);
    records_.push_front(std::move(record));
    if (records_.size() <= kReportsKept) return;
    forgotten.push_back(std::move(records_.back()));
    records_.pop_back();
  }

  // The newest first.
  std::vector<StageRecord> List() const {
    absl::MutexLock lock(&mu_);
    return {records_.begin(), records_.end()};
  }

 private:
  Listener<StageRecord> listener_;
  mutable absl::Mutex mu_;
  std::deque<StageRecord> records_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_REPORT_LOG_H_
