#include "daemon/service/handle_server.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/clock.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/fd_passing.h"
#include "common/handle_protocol.h"
#include "common/status_macros.h"
#include "common/unix_socket.h"
#include "daemon/service/peer_credentials.h"

namespace weightd {
namespace {

// A client asks as soon as it is connected.
constexpr absl::Duration kRequestTimeout = absl::Seconds(5);
constexpr size_t kWaitingMax = 256;
// What is there is taken, and an answer fits into a new socket's buffer.
constexpr absl::Duration kAtOnce = absl::ZeroDuration();

constexpr size_t kWakeEntry = 0;
constexpr size_t kFirstWaitingEntry = 1;

}  // namespace

absl::StatusOr<std::unique_ptr<HandleServer>> HandleServer::Start(int listener,
                                                                  const Dependencies& with) {
  UniqueFd wake_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_event.valid()) return PosixError(errno, "make the eventfd of the handle socket");
  std::unique_ptr<HandleServer> server(new HandleServer(with, std::move(wake_event)));
  HandleServer* raw = server.get();
  ASSIGN_OR_RETURN(server->thread_, Thread::Start("handles", [raw] { raw->Run(); }));
  ASSIGN_OR_RETURN(server->acceptor_,
                   ConnectionAcceptor::Start({.name = "accept-handles",
                                              .listener = listener,
                                              .on_connection =
                                                  [raw](UniqueFd connection) {
                                                    raw->OnConnection(std::move(connection));
                                                  },
                                              .may_accept = [raw] { return raw->HasRoom(); }}));
  return server;
}

void HandleServer::Stop() {
  acceptor_.reset();
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  const uint64_t one = 1;
  WEIGHTD_CHECK(::write(wake_event_.get(), &one, sizeof(one)) == sizeof(one));
  thread_.Join();
}

bool HandleServer::HasRoom() {
  if (with_.closer.full()) return false;
  absl::MutexLock lock(&mu_);
  return incoming_.size() < kWaitingMax;
}

void HandleServer::OnConnection(UniqueFd connection) {
  Waiting waiting;
  const absl::StatusOr<Peer> peer = ReadPeer(connection.get());
  if (!peer.ok()) return with_.closer.CloseSocket(std::move(connection), kUnknownUid);
  waiting.uid = peer->uid;
  absl::StatusOr<ConnectionGate::Admitted> admitted =
      with_.gate.Admit(*peer, Cost::kHandleConnections);
  if (admitted.ok()) {
    waiting.admitted = *std::move(admitted);
  } else {
    waiting.refused = true;
    (void)SendFdMessage(connection.get(), EncodeHandleReply(admitted.status()), {}, kAtOnce);
  }
  waiting.connection = std::move(connection);
  waiting.deadline = absl::Now() + kRequestTimeout;
  {
    absl::MutexLock lock(&mu_);
    incoming_.push_back(std::move(waiting));
  }
  // Full only after 2^64 of them that nobody read.
  const uint64_t one = 1;
  (void)!::write(wake_event_.get(), &one, sizeof(one));
}

void HandleServer::Run() {
  while (true) {
    const std::vector<pollfd> entries = Poll();
    if (entries[kWakeEntry].revents != 0) {
      uint64_t count = 0;
      (void)!::read(wake_event_.get(), &count, sizeof(count));
    }
    AnswerWaiting(entries);
    TakeIncoming();
    absl::MutexLock lock(&mu_);
    if (stops_) break;
  }
  for (Waiting& waiting : waiting_) Drop(waiting);
  waiting_.clear();
}

std::vector<pollfd> HandleServer::Poll() const {
  std::vector<pollfd> entries;
  entries.push_back({.fd = wake_event_.get(), .events = POLLIN, .revents = 0});
  for (const Waiting& waiting : waiting_) {
    // Of a refused one the end alone: POLLHUP comes unasked.
    const int16_t events = waiting.refused ? 0 : POLLIN;
    entries.push_back({.fd = waiting.connection.get(), .events = events, .revents = 0});
  }
  absl::Duration timeout = absl::InfiniteDuration();
  // All wait equally long, so that the first is due first.
  if (!waiting_.empty()) {
    timeout = std::max(waiting_.front().deadline - absl::Now(), absl::ZeroDuration());
  }
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
    Waiting& waiting = waiting_[i];
    const bool ready = entries[kFirstWaitingEntry + i].revents != 0;
    if (!ready && now < waiting.deadline) {
      still_waiting.push_back(std::move(waiting));
      continue;
    }
    if (ready && !waiting.refused) Answer(waiting);
    Drop(waiting);
  }
  waiting_ = std::move(still_waiting);
}

void HandleServer::TakeIncoming() {
  std::deque<Waiting> incoming;
  {
    absl::MutexLock lock(&mu_);
    incoming.swap(incoming_);
  }
  for (Waiting& waiting : incoming) {
    if (waiting_.size() == kWaitingMax) SendAwayOne();
    waiting_.push_back(std::move(waiting));
  }
}

void HandleServer::SendAwayOne() {
  absl::flat_hash_map<uint32_t, size_t> counts;
  size_t most = 0;
  for (const Waiting& waiting : waiting_) most = std::max(most, ++counts[waiting.uid]);
  const auto oldest = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& waiting) {
    return counts[waiting.uid] == most;
  });
  Drop(*oldest);
  waiting_.erase(oldest);
}

absl::StatusOr<std::vector<UniqueFd>> HandleServer::TakeRequest(const Waiting& waiting) {
  RETURN_IF_ERROR(CheckDescriptorsOf(waiting.uid, with_.closer));
  std::vector<UniqueFd> strays;
  const absl::StatusOr<std::string> message =
      ReceiveMessage(waiting.connection.get(), kAtOnce, strays);
  with_.closer.Close(std::move(strays), waiting.uid);
  RETURN_IF_ERROR(message.status());
  const auto request = DecodeHandleRequest(*message);
  if (!request.has_value()) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                           "handle socket: the request is malformed");
  }
  const Peer& peer = waiting.admitted.peer;
  if (request->kind == HandleRequest::Kind::kTicket) {
    return with_.redeem(request->ticket, peer);
  }
  RETURN_IF_ERROR(with_.gate.CheckRpc(peer));
  return std::vector<UniqueFd>();
}

void HandleServer::Answer(const Waiting& waiting) {
  const absl::StatusOr<std::vector<UniqueFd>> fds = TakeRequest(waiting);
  std::vector<int> numbers;
  if (fds.ok()) {
    for (const UniqueFd& fd : *fds) numbers.push_back(fd.get());
  }
  // A client that is gone by now does not need an answer.
  (void)SendFdMessage(waiting.connection.get(), EncodeHandleReply(fds.status()), numbers, kAtOnce);
}

// In its queue may lie what it sent and nobody read.
void HandleServer::Drop(Waiting& waiting) {
  with_.closer.CloseSocket(std::move(waiting.connection), waiting.uid);
}

}  // namespace weightd
