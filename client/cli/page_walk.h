#ifndef WEIGHTD_CLIENT_CLI_PAGE_WALK_H_
#define WEIGHTD_CLIENT_CLI_PAGE_WALK_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weightd::cli {

// Memory that the answer to one command may take: a checkpoint of 16 million tensors, the most that
// a daemon may be set to take, takes less.
inline constexpr uint64_t kAnswerBytesMax = uint64_t{4} << 30;

// An answer that comes in pages, or a list in several messages, and what of it is believed: it
// grows with each page, and has an end. Thread-compatible.
class PageWalk {
 public:
  explicit PageWalk(uint64_t bytes_max = kAnswerBytesMax) : bytes_max_(bytes_max) {}

  // Takes in a message of `rows` that takes `bytes` of memory: INTERNAL when that is too much.
  absl::Status Add(uint64_t rows, uint64_t bytes);
  // Likewise a page that was asked for with `token` (empty: the first one) and names `next` (empty:
  // it is the last one). True: `next` is to be asked for. INTERNAL for a page that leads nowhere.
  absl::StatusOr<bool> AddPage(uint64_t rows, uint64_t bytes, const std::string& token,
                               const std::string& next);
  // Says of a page that came too late how far the answer was; other errors stay as they are.
  absl::Status Explain(const absl::Status& status) const;

 private:
  uint64_t bytes_max_;
  uint64_t rows_ = 0;
  uint64_t bytes_ = 0;
  uint64_t pages_ = 0;
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_PAGE_WALK_H_
