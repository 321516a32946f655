#include "daemon/service/handle_server.h"

#include <sys/socket.h>

#include <memory>
#include <utility>
#include <vector>

#include "common/errors.h"
#include "common/fd_passing.h"
#include "common/handle_protocol.h"
#include "common/status_macros.h"
#include "daemon/service/peer_credentials.h"

namespace weightd {
namespace {

// A client asks as soon as it is connected and takes the answer at once.
constexpr absl::Duration kClientTimeout = absl::Seconds(5);

absl::StatusOr<std::vector<UniqueFd>> Redeem(const AccessOptions& access, LeaseTable& leases,
                                             int connection) {
  ASSIGN_OR_RETURN(const Peer peer, ReadPeer(connection));
  ASSIGN_OR_RETURN(const FdMessage message, ReceiveFdMessage(connection, kClientTimeout));
  RETURN_IF_ERROR(CheckAccess(access, peer, Right::kAttach));
  const auto request = DecodeHandleRequest(message.bytes);
  if (!request.has_value()) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                           "handle socket: the request is malformed");
  }
  if (request->kind == HandleRequest::Kind::kWhoAmI) return std::vector<UniqueFd>();
  return leases.RedeemTicket(request->ticket, peer);
}

}  // namespace

HandleServer::HandleServer(int listener, const AccessOptions& access, LeaseTable& leases,
                           BlockingPool& pool)
    : access_(access),
      leases_(leases),
      pool_(pool),
      acceptor_(listener, [this](UniqueFd connection) { OnConnection(std::move(connection)); }) {}

void HandleServer::OnConnection(UniqueFd connection) {
  auto shared = std::make_shared<UniqueFd>(std::move(connection));
  // A full pool closes the connection: the client sees it and may come again.
  (void)pool_.Submit([this, shared] {
    if (!Enter(shared->get())) return;
    Answer(shared->get());
    Leave(shared->get());
  });
}

bool HandleServer::Enter(int connection) {
  absl::MutexLock lock(&mu_);
  if (!stopped_) answered_.insert(connection);
  return !stopped_;
}

void HandleServer::Leave(int connection) {
  absl::MutexLock lock(&mu_);
  answered_.erase(connection);
}

void HandleServer::Stop() {
  acceptor_.Stop();
  absl::MutexLock lock(&mu_);
  stopped_ = true;
  // Wakes whoever waits for it; it fails only when the client is gone already.
  for (const int connection : answered_) (void)::shutdown(connection, SHUT_RDWR);
}

void HandleServer::Answer(int connection) {
  const absl::StatusOr<std::vector<UniqueFd>> fds = Redeem(access_, leases_, connection);
  std::vector<int> numbers;
  if (fds.ok()) {
    for (const UniqueFd& fd : *fds) numbers.push_back(fd.get());
  }
  // A client that is gone by now does not need an answer.
  (void)SendFdMessage(connection, EncodeHandleReply(fds.status()), numbers, kClientTimeout);
}

}  // namespace weightd
