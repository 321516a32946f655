#include "daemon/service/refusal_counts.h"

#include "common/errors.h"

namespace weightd {

RefusalCounts::RefusalCounts() {
  for (const char* request : kCountedRequests) {
    for (const absl::string_view reason : ReasonWords()) {
      counts_[{request, std::string(reason)}] = 0;
    }
  }
}

void RefusalCounts::Add(absl::string_view request, absl::string_view reason) {
  absl::MutexLock lock(&mu_);
  ++counts_[{std::string(request), std::string(reason)}];
}

std::map<RefusalCounts::RequestAndReason, uint64_t> RefusalCounts::Get() const {
  absl::MutexLock lock(&mu_);
  return counts_;
}

}  // namespace weightd
