#include "daemon/storage/descriptor_budget.h"

#include <sys/resource.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace weightd {
namespace {

constexpr uint64_t kShareOfLimit = 4;
constexpr uint64_t kFilesMin = 8;
constexpr uint64_t kFilesMax = 4096;
// Of one file: for reads past the page cache, and through it.
constexpr uint32_t kFileMost = 2;

}  // namespace

absl::string_view HowToRaiseDescriptorLimit() {
  return "raise RLIMIT_NOFILE: LimitNOFILE= of the systemd unit, --ulimit nofile= of the "
         "container, or ulimit -n";
}

std::shared_ptr<DescriptorBudget> DescriptorBudget::ForThisProcess() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = kFilesMax * kShareOfLimit;
  const uint64_t max = std::clamp<uint64_t>(limit.rlim_cur / kShareOfLimit, kFilesMin, kFilesMax);
  return std::make_shared<DescriptorBudget>(static_cast<uint32_t>(max), limit.rlim_cur);
}

bool DescriptorBudget::IsFree(uint32_t count, const VolumeLane& lane) const {
  // Half of what others leave, but enough for a file where so many are left.
  const auto half = [](uint32_t left) { return std::max(std::min(kFileMost, left), left / 2); };
  const auto minus = [](uint32_t a, uint32_t b) { return a - std::min(a, b); };
  uint32_t of_volumes = 0;
  uint32_t own = 0;
  // The lanes of the same volumes stand together.
  for (auto one = in_use_of_.lower_bound({.volumes = lane.volumes});
       one != in_use_of_.end() && one->first.volumes == lane.volumes; ++one) {
    of_volumes += one->second;
    if (one->first.uid == lane.uid) own = one->second;
  }
  const uint32_t left_to_volumes = half(max_ - (in_use_ - of_volumes));
  const uint32_t most = half(minus(left_to_volumes, of_volumes - own));
  return count <= max_ - in_use_ && count <= minus(most, own);
}

DescriptorBudget::Lease DescriptorBudget::TakeLocked(uint32_t count, const VolumeLane& lane) {
  in_use_ += count;
  in_use_of_[lane] += count;
  return Lease(shared_from_this(), count, lane);
}

std::optional<DescriptorBudget::Lease> DescriptorBudget::TryTake(uint32_t count,
                                                                 const VolumeLane& lane) {
  absl::MutexLock lock(&mu_);
  if (!IsFree(count, lane)) return std::nullopt;
  return TakeLocked(count, lane);
}

absl::StatusOr<DescriptorBudget::Lease> DescriptorBudget::Take(uint32_t count,
                                                               const VolumeLane& lane,
                                                               absl::Duration timeout,
                                                               absl::string_view what) {
  absl::MutexLock lock(&mu_);
  const auto is_free = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return IsFree(count, lane); };
  if (count > max_ || !mu_.AwaitWithTimeout(absl::Condition(&is_free), timeout)) {
    return RefusalFor(count, what);
  }
  return TakeLocked(count, lane);
}

absl::Status DescriptorBudget::RefusalFor(uint32_t count, absl::string_view what) const {
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
      absl::StrCat(what, ": needs ", count, " descriptors, and the ", max_,
                   " that checkpoint files may have (a share of RLIMIT_NOFILE, which is ", limit_,
                   "; of one volume, half of them, and of that one user half) are in use; ",
                   HowToRaiseDescriptorLimit()));
}

uint32_t DescriptorBudget::in_use() const {
  absl::MutexLock lock(&mu_);
  return in_use_;
}

void DescriptorBudget::GiveBack(uint32_t count, const VolumeLane& lane) {
  absl::MutexLock lock(&mu_);
  in_use_ -= count;
  const auto found = in_use_of_.find(lane);
  found->second -= count;
  if (found->second == 0) in_use_of_.erase(found);
}

}  // namespace weightd
