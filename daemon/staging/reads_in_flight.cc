#include "daemon/staging/reads_in_flight.h"

#include <algorithm>

namespace weightd {
namespace {

// Of what is left, the part that one reader may have.
constexpr uint64_t kPart = 4;

}  // namespace

bool ReadsInFlight::TryBegin(uint64_t moving, uint64_t hanging) {
  absl::MutexLock lock(&mu_);
  const uint64_t left = max_ - std::min(max_, count_);
  const bool has_none = moving + hanging == 0;
  const bool may_have_more = left > 0 && moving < std::max<uint64_t>(1, left / kPart);
  if (!has_none && !may_have_more) return false;
  ++count_;
  return true;
}

void ReadsInFlight::End(uint64_t count) {
  absl::MutexLock lock(&mu_);
  count_ -= count;
}

uint64_t ReadsInFlight::count() const {
  absl::MutexLock lock(&mu_);
  return count_;
}

}  // namespace weightd
