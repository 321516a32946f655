#include "daemon/service/pages.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace weightd {
namespace {

// Longer than any token of ours: a model's name and its sign.
constexpr size_t kTokenBytesMax = 1024;
// Before a name: so a token is never empty, nor a number.
constexpr char kAfterName = '>';

absl::Status NotOurs() {
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         "page_token is not one that this daemon gave");
}

template <typename Item>
void Keep(google::protobuf::RepeatedPtrField<Item>& items, int begin, int end) {
  items.DeleteSubrange(end, items.size() - end);
  items.DeleteSubrange(0, begin);
}

}  // namespace

absl::Status CutPage(const v1::ListModelsRequest& request, v1::ListModelsResponse& response) {
  auto& models = *response.mutable_models();
  const std::string& token = request.page_token();
  int begin = 0;
  if (!token.empty()) {
    if (token[0] != kAfterName || token.size() > kTokenBytesMax) return NotOurs();
    const std::string after = token.substr(1);
    while (begin < models.size() && models[begin].name() <= after) ++begin;
    response.clear_roots();  // the first page has told them
  }
  const int end = PageEnd(models, begin, request.page_size());
  if (end < models.size()) {
    response.set_next_page_token(absl::StrCat(std::string(1, kAfterName), models[end - 1].name()));
  }
  Keep(models, begin, end);
  return absl::OkStatus();
}

absl::Status CutPage(const v1::ListLeasesRequest& request, v1::ListLeasesResponse& response) {
  auto& leases = *response.mutable_leases();
  uint64_t after = 0;
  if (!request.page_token().empty() && !absl::SimpleAtoi(request.page_token(), &after)) {
    return NotOurs();
  }
  int begin = 0;
  while (begin < leases.size() && leases[begin].id() <= after) ++begin;
  const int end = PageEnd(leases, begin, request.page_size());
  if (end < leases.size()) response.set_next_page_token(absl::StrCat(leases[end - 1].id()));
  Keep(leases, begin, end);
  return absl::OkStatus();
}

void CutTensors(size_t begin, v1::GetModelResponse& response) {
  auto& tensors = *response.mutable_tensors();
  const int end = PageEnd(tensors, 0, 0);
  if (end == tensors.size()) return;
  Keep(tensors, 0, end);
  response.set_next_page_token(absl::StrCat(begin + static_cast<size_t>(end)));
}

void CutDamagedTensors(v1::VerifyModelResponse& response) {
  size_t bytes = 0;
  for (v1::VerifiedCopy& copy : *response.mutable_copies()) {
    auto& names = *copy.mutable_damaged_tensors();
    copy.set_damaged_tensor_count(static_cast<uint64_t>(names.size()));
    int kept = 0;
    while (kept < names.size() && bytes + names[kept].size() <= kMessageBytesGoal) {
      bytes += names[kept].size() + 4;
      ++kept;
    }
    names.DeleteSubrange(kept, names.size() - kept);
  }
}

std::vector<v1::WatchModelsResponse> Split(v1::WatchModelsResponse list) {
  std::vector<v1::WatchModelsResponse> parts;
  int begin = 0;
  do {
    const int end = PageEnd(list.models(), begin, 0);
    v1::WatchModelsResponse& part = parts.emplace_back();
    for (int i = begin; i < end; ++i) part.add_models()->Swap(list.mutable_models(i));
    part.set_more(end < list.models_size());
    begin = end;
  } while (begin < list.models_size());
  return parts;
}

}  // namespace weightd
