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

std::optional<DescriptorBudget::Lease> DescriptorBudget::TryTake(uint32_t count) {
  absl::MutexLock lock(&mu_);
  if (count > max_ - in_use_) return std::nullopt;
  in_use_ += count;
  return Lease(shared_from_this(), count);
}

absl::StatusOr<DescriptorBudget::Lease> DescriptorBudget::Take(uint32_t count,
                                                               absl::Duration timeout,
                                                               absl::string_view what) {
  absl::MutexLock lock(&mu_);
  const auto is_free = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return count <= max_ - in_use_; };
  if (count > max_ || !mu_.AwaitWithTimeout(absl::Condition(&is_free), timeout)) {
    return RefusalFor(count, what);
  }
  in_use_ += count;
  return Lease(shared_from_this(), count);
}

absl::Status DescriptorBudget::RefusalFor(uint32_t count, absl::string_view what) const {
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
      absl::StrCat(what, ": needs ", count, " descriptors, and the ", max_,
                   " that checkpoint files may have (a share of RLIMIT_NOFILE, which is ", limit_,
                   ") are in use; ", HowToRaiseDescriptorLimit()));
}

uint32_t DescriptorBudget::in_use() const {
  absl::MutexLock lock(&mu_);
  return in_use_;
}

void DescriptorBudget::GiveBack(uint32_t count) {
  absl::MutexLock lock(&mu_);
  in_use_ -= count;
}

}  // namespace weightd
