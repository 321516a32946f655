#ifndef WEIGHTD_COMMON_HANDLE_PROTOCOL_H_
#define WEIGHTD_COMMON_HANDLE_PROTOCOL_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// What passes over the handle socket: one request and one reply, each a SOCK_SEQPACKET message.
//
//   request   "WTK1" + 16 bytes ticket     the descriptors of a grant
//             "WWH1"                       "who am I to you": no descriptors, only the status
//   reply     u32 status code (absl/gRPC numbers, little-endian) + reason name + NUL + text
//             with the grant's descriptors in the order of its allocations when the code is OK
//
// gRPC cannot carry descriptors, which is why this socket exists. The daemon checks SO_PEERCRED of
// both connections: a ticket works once, for the process it was given to, while its lease lives.
// Thread-safe: pure functions.

namespace weightd {

inline constexpr size_t kTicketBytes = 16;

struct HandleRequest {
  enum class Kind { kTicket, kWhoAmI };
  Kind kind = Kind::kWhoAmI;
  std::string ticket;  // kTicketBytes bytes for kTicket. Grants access: never log it.
};

std::string EncodeHandleRequest(const HandleRequest& request);
std::optional<HandleRequest> DecodeHandleRequest(absl::string_view bytes);

std::string EncodeHandleReply(const absl::Status& status);
// The status that a reply carries, its reason included; INTERNAL for bytes that are no reply.
absl::Status DecodeHandleReply(absl::string_view bytes);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_HANDLE_PROTOCOL_H_
