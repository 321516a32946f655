#ifndef WEIGHTD_DAEMON_SERVICE_REFUSAL_COUNTS_H_
#define WEIGHTD_DAEMON_SERVICE_REFUSAL_COUNTS_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace weightd {

// The requests whose refusals are counted.
inline constexpr std::array kCountedRequests = {"attach", "stage", "evict",
                                                "verify", "pin",   "unpin"};

// How often each request was refused, by the reason that the client was told. Thread-safe.
class RefusalCounts {
 public:
  using RequestAndReason = std::pair<std::string, std::string>;

  // Every request with every reason has its count from here on: zero.
  RefusalCounts();

  // `reason` is one of ReasonWords().
  void Add(absl::string_view request, absl::string_view reason);
  std::map<RequestAndReason, uint64_t> Get() const;

 private:
  mutable absl::Mutex mu_;
  std::map<RequestAndReason, uint64_t> counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_REFUSAL_COUNTS_H_
