#include "daemon/service/handle_server.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/time/clock.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/fd_passing.h"
#include "common/handle_protocol.h"
#include "common/status_macros.h"
#include "daemon/service/peer_credentials.h"

namespace weightd {
namespace {

// A client asks as soon as it is connected.
constexpr absl::Duration kRequestTimeout = absl::Seconds(5);
constexpr size_t kWaitingMax = 256;
constexpr absl::Duration kExhaustedWait = absl::Milliseconds(100);
// What is there is taken, and an answer fits into a new socket's buffer.
constexpr absl::Duration kAtOnce = absl::ZeroDuration();

constexpr size_t kStopEntry = 0;
constexpr size_t kListenerEntry = 1;
constexpr size_t kFirstWaitingEntry = 2;

absl::StatusOr<std::vector<UniqueFd>> Redeem(const AccessList& access, LeaseTable& leases,
                                             int connection) {
  ASSIGN_OR_RETURN(const Peer peer, ReadPeer(connection));
  ASSIGN_OR_RETURN(const FdMessage message, ReceiveFdMessage(connection, kAtOnce));
  RETURN_IF_ERROR(access.Check(peer, Right::kAttach));
  const auto request = DecodeHandleRequest(message.bytes);
  if (!request.has_value()) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                           "handle socket: the request is malformed");
  }
  if (request->kind == HandleRequest::Kind::kWhoAmI) return std::vector<UniqueFd>();
  return leases.RedeemTicket(request->ticket, peer);
}

}  // namespace

HandleServer::HandleServer(int listener, const AccessList& access, LeaseTable& leases)
    : listener_(listener),
      access_(access),
      leases_(leases),
      stop_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  WEIGHTD_CHECK(stop_event_.valid());
  thread_ = std::thread([this] { Run(); });
}

void HandleServer::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  WEIGHTD_CHECK(::write(stop_event_.get(), &one, sizeof(one)) == sizeof(one));
  thread_.join();
}

void HandleServer::Run() {
  while (true) {
    const std::vector<pollfd> entries = Poll();
    if (entries[kStopEntry].revents != 0) break;
    AnswerWaiting(entries);
    exhausted_ = false;
    if (entries[kListenerEntry].revents != 0) Accept();
  }
  waiting_.clear();
}

std::vector<pollfd> HandleServer::Poll() const {
  std::vector<pollfd> entries;
  entries.push_back({.fd = stop_event_.get(), .events = POLLIN, .revents = 0});
  // Out of descriptors the listener stays readable: poll() leaves out what is negative.
  entries.push_back({.fd = exhausted_ ? -1 : listener_, .events = POLLIN, .revents = 0});
  for (const Waiting& waiting : waiting_) {
    entries.push_back({.fd = waiting.connection.get(), .events = POLLIN, .revents = 0});
  }
  absl::Duration timeout = exhausted_ ? kExhaustedWait : absl::InfiniteDuration();
  // All wait equally long, so that the first is due first.
  if (!waiting_.empty()) timeout = std::min(timeout, waiting_.front().deadline - absl::Now());
  timeout = std::max(timeout, absl::ZeroDuration());
  const int timeout_ms = timeout == absl::InfiniteDuration()
                             ? -1
                             : static_cast<int>(absl::ToInt64Milliseconds(timeout) + 1);
  // Fails with EINTR alone, and then nothing is ready.
  (void)::poll(entries.data(), entries.size(), timeout_ms);
  return entries;
}

void HandleServer::AnswerWaiting(const std::vector<pollfd>& entries) {
  const absl::Time now = absl::Now();
  std::deque<Waiting> still_waiting;
  for (size_t i = 0; i < waiting_.size(); ++i) {
    if (entries[kFirstWaitingEntry + i].revents != 0) {
      Answer(waiting_[i].connection.get());
    } else if (now < waiting_[i].deadline) {
      still_waiting.push_back(std::move(waiting_[i]));
    }
  }
  waiting_ = std::move(still_waiting);
}

void HandleServer::Accept() {
  UniqueFd connection(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection.valid()) {
    exhausted_ = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
    return;
  }
  if (waiting_.size() == kWaitingMax) waiting_.pop_front();
  waiting_.push_back(
      {.connection = std::move(connection), .deadline = absl::Now() + kRequestTimeout});
}

void HandleServer::Answer(int connection) const {
  const absl::StatusOr<std::vector<UniqueFd>> fds = Redeem(access_, leases_, connection);
  std::vector<int> numbers;
  if (fds.ok()) {
    for (const UniqueFd& fd : *fds) numbers.push_back(fd.get());
  }
  // A client that is gone by now does not need an answer.
  (void)SendFdMessage(connection, EncodeHandleReply(fds.status()), numbers, kAtOnce);
}

}  // namespace weightd
