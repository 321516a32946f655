#include "daemon/service/request_frames.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// RFC 9113, sections 3.4 and 6.
constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr uint8_t kData = 0;
constexpr uint8_t kHeaders = 1;
constexpr uint8_t kRstStream = 3;
constexpr uint8_t kContinuation = 9;
constexpr uint8_t kEndStream = 1;
constexpr uint32_t kStreamMask = 0x7fffffff;

// A message of 64 KiB in one frame, and padding.
constexpr size_t kFrameBytesMax = size_t{80} << 10;

absl::Status TooMuch(absl::string_view what, size_t got, size_t max) {
  return absl::ResourceExhaustedError(
      absl::StrCat("a connection has ", got, " ", what, ", at most ", max, " may be"));
}

}  // namespace

absl::Status RequestFrames::Read(absl::string_view bytes) {
  const size_t preface = std::min(bytes.size(), kPreface.size() - preface_read_);
  if (bytes.substr(0, preface) != kPreface.substr(preface_read_, preface)) {
    return absl::InvalidArgumentError("a connection does not begin as HTTP/2 does");
  }
  preface_read_ += preface;
  bytes.remove_prefix(preface);
  while (!bytes.empty()) {
    if (payload_left_ == 0) {
      head_.at(head_read_++) = static_cast<uint8_t>(bytes.front());
      bytes.remove_prefix(1);
      if (head_read_ < head_.size()) continue;
      head_read_ = 0;
      RETURN_IF_ERROR(BeginFrame());
    }
    const size_t payload = std::min(bytes.size(), payload_left_);
    payload_left_ -= payload;
    bytes.remove_prefix(payload);
    if (payload_left_ == 0) EndFrame();
  }
  return absl::OkStatus();
}

uint32_t RequestFrames::Stream() const {
  return (uint32_t{head_[5]} << 24 | uint32_t{head_[6]} << 16 | uint32_t{head_[7]} << 8 |
          head_[8]) &
         kStreamMask;
}

absl::Status RequestFrames::BeginFrame() {
  payload_left_ = size_t{head_[0]} << 16 | size_t{head_[1]} << 8 | head_[2];
  if (payload_left_ > kFrameBytesMax) {
    return TooMuch("bytes in a frame", payload_left_, kFrameBytesMax);
  }
  const uint32_t stream = Stream();
  const bool ends = (head_[4] & kEndStream) != 0;
  switch (head_[3]) {
    case kHeaders:
      header_bytes_ = 0;
      unfinished_.try_emplace(stream, 0);
      ends_stream_ = ends ? stream : 0;
      return BeginHeaders(payload_left_);
    case kContinuation:
      return BeginHeaders(payload_left_);
    case kData:
      ends_stream_ = ends ? stream : 0;
      return BeginData(payload_left_);
    case kRstStream:
      ends_stream_ = stream;
      return absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

absl::Status RequestFrames::BeginHeaders(size_t bytes) {
  header_bytes_ += bytes;
  if (header_bytes_ > kHeaderBytesMax) {
    return TooMuch("bytes in a request's headers", header_bytes_, kHeaderBytesMax);
  }
  if (unfinished_.size() <= kUnfinishedMax) return absl::OkStatus();
  return TooMuch("requests that are not whole", unfinished_.size(), kUnfinishedMax);
}

absl::Status RequestFrames::BeginData(size_t bytes) {
  const auto found = unfinished_.find(Stream());
  if (found == unfinished_.end()) return absl::OkStatus();  // gRPC drops it
  found->second += bytes;
  unfinished_bytes_ += bytes;
  if (unfinished_bytes_ <= kUnfinishedBytesMax) return absl::OkStatus();
  return TooMuch("bytes of requests that are not whole", unfinished_bytes_, kUnfinishedBytesMax);
}

void RequestFrames::EndFrame() {
  const uint32_t stream = std::exchange(ends_stream_, 0);
  const auto found = unfinished_.find(stream);
  if (found == unfinished_.end()) return;
  unfinished_bytes_ -= found->second;
  unfinished_.erase(found);
}

}  // namespace weightd
