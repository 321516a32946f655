#ifndef WEIGHTD_DAEMON_SERVICE_PAGES_H_
#define WEIGHTD_DAEMON_SERVICE_PAGES_H_

#include <google/protobuf/repeated_ptr_field.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/message_limits.h"
#include "weightd/v1/weight_cache.pb.h"

// Lists that may be longer than a message. Pure functions, thread-safe.

namespace weightd {

// How many of `items`, from `begin` on, fit into a message and are no more than `page_size`, where
// that is not 0; at least one, where there is one.
template <typename Item>
int PageEnd(const google::protobuf::RepeatedPtrField<Item>& items, int begin, uint32_t page_size) {
  size_t bytes = 0;
  int end = begin;
  while (end < items.size()) {
    if (page_size != 0 && static_cast<uint32_t>(end - begin) >= page_size) break;
    bytes += items[end].ByteSizeLong();
    if (bytes > kMessageBytesGoal && end > begin) break;
    ++end;
  }
  return end;
}

// Leaves of a whole list the page that was asked for, and the token of the next one. Pages follow
// names and ids, which grow, so that what comes and goes between two calls moves no other item to
// another page. INVALID_ARGUMENT/INVALID_REQUEST for a token that is none of ours.
absl::Status CutPage(const v1::ListModelsRequest& request, v1::ListModelsResponse& response);
absl::Status CutPage(const v1::ListLeasesRequest& request, v1::ListLeasesResponse& response);

// Leaves of the tensors of a page, which begins with the `begin`th, what a message holds.
void CutTensors(size_t begin, v1::GetModelResponse& response);

// Leaves the first names of damaged tensors, as many as a message holds for all copies.
void CutDamagedTensors(v1::VerifyModelResponse& response);

// The list in messages, of which all but the last say that there is more.
std::vector<v1::WatchModelsResponse> Split(v1::WatchModelsResponse list);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_PAGES_H_
