#include "client/cli/page_walk.h"

#include "absl/strings/str_cat.h"
#include "client/cli/text.h"
#include "common/format_units.h"

namespace weightd::cli {

absl::Status PageWalk::Add(uint64_t rows, uint64_t bytes) {
  rows_ += rows;
  bytes_ += bytes;
  ++pages_;
  if (bytes_ <= bytes_max_) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("answer from weightd: its first ", Counted(rows_, "row"),
                                          " take more than ", FormatBytes(bytes_max_),
                                          " of memory; no daemon has so much to tell"));
}

absl::StatusOr<bool> PageWalk::AddPage(uint64_t rows, uint64_t bytes, const std::string& token,
                                       const std::string& next) {
  if (absl::Status room = Add(rows, bytes); !room.ok()) return room;
  if (next.empty()) return false;
  if (rows > 0 && next != token) return true;
  return absl::InternalError(
      absl::StrCat("answer from weightd: page ", pages_, " has ", Counted(rows, "row"),
                   next == token ? " and names itself as the next one"
                                 : " and says that there are more, no daemon of ours does that"));
}

absl::Status PageWalk::Explain(const absl::Status& status) const {
  if (status.code() != absl::StatusCode::kDeadlineExceeded || pages_ == 0) return status;
  return absl::DeadlineExceededError(
      absl::StrCat("the answer did not end in time: ", Counted(rows_, "row"), " in ",
                   Counted(pages_, "page"), " came"));
}

}  // namespace weightd::cli
