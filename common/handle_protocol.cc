#include "common/handle_protocol.h"

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/fd_passing.h"

namespace weightd {
namespace {

constexpr absl::string_view kTicketMagic = "WTK1";
constexpr absl::string_view kWhoAmIMagic = "WWH1";
constexpr int kStatusCodeMax = 16;

}  // namespace

std::string EncodeHandleRequest(const HandleRequest& request) {
  if (request.kind == HandleRequest::Kind::kWhoAmI) return std::string(kWhoAmIMagic);
  return absl::StrCat(kTicketMagic, request.ticket);
}

std::optional<HandleRequest> DecodeHandleRequest(absl::string_view bytes) {
  if (bytes == kWhoAmIMagic) return HandleRequest{};
  if (bytes.size() != kTicketMagic.size() + kTicketBytes ||
      !absl::StartsWith(bytes, kTicketMagic)) {
    return std::nullopt;
  }
  return HandleRequest{.kind = HandleRequest::Kind::kTicket,
                       .ticket = std::string(bytes.substr(kTicketMagic.size()))};
}

std::string EncodeHandleReply(const absl::Status& status) {
  const uint32_t code = static_cast<uint32_t>(status.code());
  std::string reply;
  for (int shift = 0; shift < 32; shift += 8) {
    reply.push_back(static_cast<char>((code >> shift) & 0xff));
  }
  if (const auto reason = GetReason(status); reason.has_value())
    absl::StrAppend(&reply, ReasonName(*reason));
  reply.push_back('\0');
  absl::StrAppend(&reply, status.message());
  if (reply.size() > kFdMessageBytesMax) reply.resize(kFdMessageBytesMax);
  return reply;
}

absl::Status DecodeHandleReply(absl::string_view bytes) {
  if (bytes.size() < 5) return absl::InternalError("handle socket: reply too short");
  uint32_t code = 0;
  for (int i = 0; i < 4; ++i) {
    code |= uint32_t{static_cast<unsigned char>(bytes[static_cast<size_t>(i)])} << (8 * i);
  }
  const size_t end = bytes.find('\0', 4);
  if (code > kStatusCodeMax || end == absl::string_view::npos) {
    return absl::InternalError("handle socket: reply is malformed");
  }
  if (code == 0) return absl::OkStatus();
  const auto status_code = static_cast<absl::StatusCode>(code);
  const absl::string_view message = bytes.substr(end + 1);
  if (const auto reason = ReasonFromName(bytes.substr(4, end - 4)); reason.has_value()) {
    return ErrorWithReason(status_code, *reason, message);
  }
  return absl::Status(status_code, message);
}

}  // namespace weightd
