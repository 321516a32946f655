#ifndef WEIGHTD_DAEMON_STORAGE_DESCRIPTOR_BUDGET_H_
#define WEIGHTD_DAEMON_STORAGE_DESCRIPTOR_BUDGET_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "daemon/storage/volume_work.h"

namespace weightd {

// The descriptors that checkpoint files may have at once: a share of what the process may have
// (RLIMIT_NOFILE), so that clients, devices and the memory of models always get theirs. The files
// of one set of volumes have half of what others leave at most: those that hang, in opening,
// reading or closing, keep theirs. Of that, those that one user opened, or the daemon for itself,
// have half of what the others leave. Thread-safe.
class DescriptorBudget : public std::enable_shared_from_this<DescriptorBudget> {
 public:
  // Some descriptors, which go back with it. Thread-compatible.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept
        : budget_(std::move(other.budget_)),
          count_(std::exchange(other.count_, 0)),
          lane_(std::move(other.lane_)) {}
    Lease& operator=(Lease&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(count_, other.count_);
      std::swap(lane_, other.lane_);
      return *this;
    }
    ~Lease() {
      if (budget_ != nullptr) budget_->GiveBack(count_, lane_);
    }

   private:
    friend class DescriptorBudget;
    Lease(std::shared_ptr<DescriptorBudget> budget, uint32_t count, VolumeLane lane)
        : budget_(std::move(budget)), count_(count), lane_(std::move(lane)) {}
    std::shared_ptr<DescriptorBudget> budget_;
    uint32_t count_ = 0;
    VolumeLane lane_;
  };

  // `max`: what files may have, at least 2. `limit`: the process's RLIMIT_NOFILE, for messages.
  DescriptorBudget(uint32_t max, uint64_t limit) : max_(max), limit_(limit) {}
  // A quarter of RLIMIT_NOFILE as it is now, 8 to 4096.
  static std::shared_ptr<DescriptorBudget> ForThisProcess();

  // None where they are not free now. More than all of them is never free. They count for
  // `lane`: see VolumeThreads::CurrentLane().
  std::optional<Lease> TryTake(uint32_t count, const VolumeLane& lane) ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for them up to `timeout`, then RefusalFor().
  absl::StatusOr<Lease> Take(uint32_t count, const VolumeLane& lane, absl::Duration timeout,
                             absl::string_view what) ABSL_LOCKS_EXCLUDED(mu_);
  // RESOURCE_EXHAUSTED/LIMIT_EXCEEDED with the limit, what is wanted of it and how to raise it.
  absl::Status RefusalFor(uint32_t count, absl::string_view what) const;

  uint32_t max() const { return max_; }
  uint32_t in_use() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void GiveBack(uint32_t count, const VolumeLane& lane) ABSL_LOCKS_EXCLUDED(mu_);
  bool IsFree(uint32_t count, const VolumeLane& lane) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  Lease TakeLocked(uint32_t count, const VolumeLane& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const uint32_t max_;
  const uint64_t limit_;
  mutable absl::Mutex mu_;
  uint32_t in_use_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<VolumeLane, uint32_t> in_use_of_ ABSL_GUARDED_BY(mu_);
};

// How an operator raises the limit of descriptors, for messages.
absl::string_view HowToRaiseDescriptorLimit();

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_DESCRIPTOR_BUDGET_H_
