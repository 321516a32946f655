#ifndef WEIGHTD_DAEMON_RESIDENCY_REPORT_LOG_H_
#define WEIGHTD_DAEMON_RESIDENCY_REPORT_LOG_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
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
  // Called with each stage that has ended, on its thread: must be quick and must not call back.
  using Listener = std::function<void(const StageRecord&)>;

  // When this returns, the listener before is not called any more; null is none.
  void set_listener(Listener listener) {
    absl::MutexLock lock(&mu_);
    listener_ = std::move(listener);
  }

  // Tells of it without keeping it.
  void Tell(const StageRecord& record) {
    absl::MutexLock lock(&mu_);
    if (listener_) listener_(record);
  }

  void Add(StageRecord record) {
    absl::MutexLock lock(&mu_);
    if (listener_) listener_(record);
    records_.push_front(std::move(record));
    if (records_.size() > kReportsKept) records_.pop_back();
  }

  // The newest first.
  std::vector<StageRecord> List() const {
    absl::MutexLock lock(&mu_);
    return {records_.begin(), records_.end()};
  }

 private:
  mutable absl::Mutex mu_;
  Listener listener_ ABSL_GUARDED_BY(mu_);
  std::deque<StageRecord> records_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_REPORT_LOG_H_
