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

bool DescriptorBudget::IsFree(uint32_t count, const std::set<uint64_t>& volumes) const {
  const auto found = in_use_of_.find(volumes);
  const uint32_t own = found == in_use_of_.end() ? 0 : found->second;
  const uint32_t left_by_others = max_ - (in_use_ - own);
  const uint32_t most = std::max(std::min(kFileMost, left_by_others), left_by_others / 2);
  return count <= max_ - in_use_ && count <= most - std::min(own, most);
}

DescriptorBudget::Lease DescriptorBudget::TakeLocked(uint32_t count,
                                                     const std::set<uint64_t>& volumes) {
  in_use_ += count;
  in_use_of_[volumes] += count;
  return Lease(shared_from_this(), count, volumes);
}

std::optional<DescriptorBudget::Lease> DescriptorBudget::TryTake(
    uint32_t count, const std::set<uint64_t>& volumes) {
  absl::MutexLock lock(&mu_);
  if (!IsFree(count, volumes)) return std::nullopt;
  return TakeLocked(count, volumes);
}

absl::StatusOr<DescriptorBudget::Lease> DescriptorBudget::Take(uint32_t count,
                                                               const std::set<uint64_t>& volumes,
                                                               absl::Duration timeout,
                                                               absl::string_view what) {
  absl::MutexLock lock(&mu_);
  const auto is_free = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return IsFree(count, volumes); };
  if (count > max_ || !mu_.AwaitWithTimeout(absl::Condition(&is_free), timeout)) {
    return RefusalFor(count, what);
  }
  return TakeLocked(count, volumes);
}

absl::Status DescriptorBudget::RefusalFor(uint32_t count, absl::string_view what) const {
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
      absl::StrCat(what, ": needs ", count, " descriptors, and the ", max_,
                   " that checkpoint files may have (a share of RLIMIT_NOFILE, which is ", limit_,
                   "; of one volume, half of them) are in use; ", HowToRaiseDescriptorLimit()));
}

uint32_t DescriptorBudget::in_use() const {
  absl::MutexLock lock(&mu_);
  return in_use_;
}

void DescriptorBudget::GiveBack(uint32_t count, const std::set<uint64_t>& volumes) {
  absl::MutexLock lock(&mu_);
  in_use_ -= count;
  const auto found = in_use_of_.find(volumes);
  found->second -= count;
  if (found->second == 0) in_use_of_.erase(found);
}

}  // namespace weightd
