#include "client/cpp/grant_check.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace weightd::client {
namespace {

constexpr size_t kCommitDigits = 40;
// What limits.tensors_max of the daemon may be set to.
constexpr uint64_t kTensorsMax = 16'000'000;
// A copy is one allocation, or some slabs.
constexpr int kAllocationsMax = 4096;

bool IsNumber(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

bool IsCommit(absl::string_view text) {
  return text.size() == kCommitDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
         });
}

absl::Status Other(absl::string_view got, absl::string_view wanted) {
  return absl::InternalError(absl::StrCat("grant from weightd: it is of ", absl::CHexEscape(got),
                                          ", asked for was ", absl::CHexEscape(wanted)));
}

}  // namespace

absl::Status CheckGranted(absl::string_view asked, const v1::Granted& granted) {
  if (granted.tensor_count() > kTensorsMax) {
    return absl::InternalError(absl::StrCat("grant from weightd: it announces ",
                                            granted.tensor_count(), " tensors, more than ",
                                            kTensorsMax));
  }
  if (granted.allocations_size() > kAllocationsMax) {
    return absl::InternalError(absl::StrCat("grant from weightd: it has ",
                                            granted.allocations_size(), " allocations, more than ",
                                            kAllocationsMax));
  }
  const size_t at = asked.find('@');
  const absl::string_view name = asked.substr(0, at);
  if (granted.model() != name) return Other(absl::StrCat("model ", granted.model()), name);
  if (at == absl::string_view::npos) return absl::OkStatus();
  const absl::string_view which = asked.substr(at + 1);
  uint64_t generation = 0;
  if (IsCommit(which)) {
    if (granted.revision() == which) return absl::OkStatus();
    return Other(absl::StrCat("revision ", granted.revision()), which);
  }
  if (!IsNumber(which) || which.size() > kCommitDigits || !absl::SimpleAtoi(which, &generation) ||
      generation == granted.generation_id()) {
    return absl::OkStatus();
  }
  return Other(absl::StrCat("generation ", granted.generation_id()), which);
}

}  // namespace weightd::client
