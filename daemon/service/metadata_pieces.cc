#include "daemon/service/metadata_pieces.h"

#include <algorithm>

#include "common/message_limits.h"

namespace weightd {
namespace {

constexpr size_t kGrantBytesMax = size_t{64} << 10;
constexpr size_t kPieceOverheadBytes = 20;
// Beside a page of tensors.
constexpr size_t kListedBytesMax = size_t{192} << 10;

size_t CostOf(const Metadata::value_type& entry) {
  return entry.first.size() + entry.second.size() + kPieceOverheadBytes;
}

// Moves what is left of `text` from `told` on, `room` at most, to `to`.
void TakePart(const std::string& text, size_t& told, size_t& room, std::string& to) {
  const size_t bytes = std::min(room, text.size() - told);
  to.assign(text, told, bytes);
  told += bytes;
  room -= bytes;
}

}  // namespace

bool FitsIntoGrant(const Metadata& metadata) {
  size_t bytes = 0;
  for (const auto& entry : metadata) {
    bytes += CostOf(entry);
    if (bytes > kGrantBytesMax) return false;
  }
  return true;
}

std::optional<v1::MetadataBatch> MetadataPieces::Next() {
  if (at_ == metadata_.end()) return std::nullopt;
  v1::MetadataBatch batch;
  size_t room = kMessageBytesGoal;
  while (at_ != metadata_.end() && room > kPieceOverheadBytes) {
    room -= kPieceOverheadBytes;
    v1::MetadataPiece& piece = *batch.add_pieces();
    TakePart(at_->first, key_bytes_, room, *piece.mutable_key());
    TakePart(at_->second, value_bytes_, room, *piece.mutable_value());
    if (key_bytes_ < at_->first.size() || value_bytes_ < at_->second.size()) {
      piece.set_continues(true);
      break;
    }
    ++at_;
    key_bytes_ = 0;
    value_bytes_ = 0;
  }
  return batch;
}

void FillMetadata(const Metadata& metadata, v1::GetModelResponse& response) {
  size_t bytes = 0;
  uint32_t left_out = 0;
  for (const auto& entry : metadata) {
    if (bytes + CostOf(entry) > kListedBytesMax) {
      ++left_out;
      continue;
    }
    bytes += CostOf(entry);
    (*response.mutable_metadata())[entry.first] = entry.second;
  }
  response.set_metadata_left_out(left_out);
}

}  // namespace weightd
