#include "daemon/lease/ticket.h"

#include <sys/random.h>

#include <cerrno>

#include "common/errors.h"
#include "common/handle_protocol.h"

namespace weightd {

absl::StatusOr<std::string> MakeTicket() {
  std::string ticket(kTicketBytes, '\0');
  // Up to 256 bytes come whole and without EINTR once the pool is ready (getrandom(2)).
  const ssize_t made = ::getrandom(ticket.data(), ticket.size(), 0);
  if (made != static_cast<ssize_t>(ticket.size())) return PosixError(errno, "make ticket");
  return ticket;
}

}  // namespace weightd
