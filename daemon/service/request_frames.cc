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

bool RequestFrames::Position::TakeHead(absl::string_view& bytes) {
  if (in_frame) return false;
  while (!bytes.empty() && head_read < head.size()) {
    head.at(head_read++) = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
  }
  if (head_read < head.size()) return false;
  head_read = 0;
  payload_left = size_t{head[0]} << 16 | size_t{head[1]} << 8 | head[2];
  in_frame = true;
  return true;
}

bool RequestFrames::Position::TakePayload(absl::string_view& bytes) {
  if (!in_frame) return false;
  const size_t payload = std::min(bytes.size(), payload_left);
  payload_left -= payload;
  bytes.remove_prefix(payload);
  in_frame = payload_left > 0;
  return !in_frame;
}

bool RequestFrames::Position::ends_stream() const {
  return type() == kRstStream ||
         ((type() == kHeaders || type() == kData) && (head[4] & kEndStream) != 0);
}

uint32_t RequestFrames::Position::stream() const {
  return (uint32_t{head[5]} << 24 | uint32_t{head[6]} << 16 | uint32_t{head[7]} << 8 | head[8]) &
         kStreamMask;
}

absl::Status RequestFrames::Read(absl::string_view bytes) {
  const size_t preface = std::min(bytes.size(), kPreface.size() - preface_read_);
  if (bytes.substr(0, preface) != kPreface.substr(preface_read_, preface)) {
    return absl::InvalidArgumentError("a connection does not begin as HTTP/2 does");
  }
  preface_read_ += preface;
  bytes.remove_prefix(preface);
  while (!bytes.empty()) {
    if (requests_.TakeHead(bytes)) RETURN_IF_ERROR(BeginFrame());
    if (requests_.TakePayload(bytes)) EndFrame();
  }
  return absl::OkStatus();
}

void RequestFrames::ReadAnswers(absl::string_view bytes) {
  while (!bytes.empty()) {
    if (answers_.TakeHead(bytes) && answers_.ends_stream()) Close(answers_.stream());
    (void)answers_.TakePayload(bytes);
  }
}

absl::Status RequestFrames::BeginFrame() {
  if (requests_.payload_left > kFrameBytesMax) {
    return TooMuch("bytes in a frame", requests_.payload_left, kFrameBytesMax);
  }
  const uint32_t stream = requests_.stream();
  ends_stream_ = requests_.ends_stream() ? stream : 0;
  switch (requests_.type()) {
    case kHeaders:
      header_bytes_ = 0;
      unfinished_.try_emplace(stream, 0);
      Open(stream, requests_.payload_left);
      return BeginHeaders(requests_.payload_left);
    case kContinuation:
      Open(stream, requests_.payload_left);
      return BeginHeaders(requests_.payload_left);
    case kData:
      return BeginData(requests_.payload_left);
    case kRstStream:
      Close(stream);
      return absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

void RequestFrames::Open(uint32_t stream, size_t header_bytes) {
  size_t& cost = open_[stream];
  const size_t more = (cost == 0 ? 1 : 0) + header_bytes / 1024;
  cost += more;
  open_cost_ += more;
}

void RequestFrames::Close(uint32_t stream) {
  const auto open = open_.find(stream);
  if (open == open_.end()) return;
  open_cost_ -= open->second;
  open_.erase(open);
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
  const auto found = unfinished_.find(requests_.stream());
  if (found == unfinished_.end()) return absl::OkStatus();  // gRPC drops it
  found->second += bytes;
  unfinished_bytes_ += bytes;
  if (unfinished_bytes_ <= kUnfinishedBytesMax) return absl::OkStatus();
  return TooMuch("bytes of requests that are not whole", unfinished_bytes_, kUnfinishedBytesMax);
}

void RequestFrames::EndFrame() {
  const auto found = unfinished_.find(std::exchange(ends_stream_, 0));
  if (found == unfinished_.end()) return;
  unfinished_bytes_ -= found->second;
  unfinished_.erase(found);
}

}  // namespace weightd
