#ifndef WEIGHTD_DAEMON_LEASE_TICKET_H_
#define WEIGHTD_DAEMON_LEASE_TICKET_H_

#include <string>

#include "absl/status/statusor.h"

namespace weightd {

// kTicketBytes (common/handle_protocol.h) unguessable bytes from getrandom(2). Grants access: never
// log it. Thread-safe.
absl::StatusOr<std::string> MakeTicket();

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_LEASE_TICKET_H_
