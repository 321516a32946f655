#ifndef WEIGHTD_DAEMON_RESIDENCY_REPORT_LOG_H_
#define WEIGHTD_DAEMON_RESIDENCY_REPORT_LOG_H_

#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "daemon/residency/generation.h"

namespace weightd {

// Stages that are kept: an operator who asks has seen the last of them go wrong.
inline constexpr size_t kReportsKept = 32;

// One stage that has ended, well or not.
struct StageRecord {
  std::string model;
  std::vector<std::string> devices;
  absl::Time end_time;
  absl::Status status;
  GenerationId generation;  // valid when status is OK
  StageReport report;       // of a failed one, the job alone
};

// The last stages that read something or failed. Thread-safe.
class ReportLog {
 public:
  void Add(StageRecord record) {
    absl::MutexLock lock(&mu_);
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
  std::deque<StageRecord> records_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_REPORT_LOG_H_
