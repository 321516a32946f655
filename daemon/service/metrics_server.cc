#include "daemon/service/metrics_server.h"

#include <prometheus/text_serializer.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/steady_time.h"
#include "daemon/service/http_answer.h"
#include "daemon/service/tcp_listener.h"

namespace weightd {
namespace {

constexpr uint64_t kShareOfDescriptors = 32;
constexpr uint64_t kConnectionsMin = 4;
constexpr size_t kEventsAtOnce = 512;
// Between two looks at those who are there already.
constexpr int kAcceptsAtOnce = 64;
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);
// For a client to close after its answer.
constexpr absl::Duration kFarewellTime = absl::Seconds(1);

// What events are of; connections have greater numbers.
constexpr uint64_t kStopNumber = 0;
constexpr uint64_t kListenerNumber = 1;
constexpr uint64_t kFirstNumber = 2;

bool WouldBlock(int error) { return error == EAGAIN || error == EINTR; }

// What recv(2) says, with room for `part`: bytes, 0 at the end or after an error, nothing (-1) when
// there is no more now.
ssize_t TakeWhatIsThere(int socket, std::array<char, 4096>& part) {
  const ssize_t count = ::recv(socket, part.data(), part.size(), MSG_DONTWAIT);
  if (count >= 0) return count;
  return WouldBlock(errno) ? -1 : 0;
}

// Whether a close drops what the peer has not taken: else the kernel keeps it for minutes.
void DropUnsentAtClose(int socket, bool drops) {
  const linger option = {.l_onoff = drops ? 1 : 0, .l_linger = 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_LINGER, &option, sizeof(option));
}

}  // namespace

MetricsServer::Limits MetricsServer::Limits::OfThisProcess() {
  Limits limits;
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
    limits.connections_max = std::clamp<uint64_t>(descriptors.rlim_cur / kShareOfDescriptors,
                                                  kConnectionsMin, limits.connections_max);
  }
  return limits;
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const std::string& address, std::shared_ptr<prometheus::Collectable> metrics,
    const Limits& limits) {
  absl::StatusOr<UniqueFd> listener = ListenOnTcp(address);
  if (!listener.ok()) {
    return absl::UnavailableError(absl::StrCat("metrics: cannot listen on ", address,
                                               " (metrics.address): ", listener.status().message(),
                                               "; is it HOST:PORT of this machine, and free?"));
  }
  std::unique_ptr<MetricsServer> server(
      new MetricsServer(std::move(metrics), limits, *std::move(listener)));
  server->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  server->stop_event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!server->epoll_.valid() || !server->stop_event_.valid()) {
    return PosixError(errno, "make what the metrics' server waits with");
  }
  server->Watch(server->stop_event_.get(), EPOLL_CTL_ADD, EPOLLIN, kStopNumber);
  server->Watch(server->listener_.get(), EPOLL_CTL_ADD, EPOLLIN, kListenerNumber);
  ASSIGN_OR_RETURN(server->thread_, Thread::Start("metrics", [raw = server.get()] { raw->Run(); }));
  return server;
}

MetricsServer::MetricsServer(std::shared_ptr<prometheus::Collectable> metrics, const Limits& limits,
                             UniqueFd listener)
    : metrics_(std::move(metrics)),
      limits_(limits),
      listener_(std::move(listener)),
      port_(PortOf(listener_.get())),
      next_number_(kFirstNumber) {}

MetricsServer::~MetricsServer() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  WEIGHTD_CHECK(::write(stop_event_.get(), &one, sizeof(one)) == sizeof(one));
  thread_.Join();
}

void MetricsServer::Watch(int socket, int operation, uint32_t events, uint64_t number) const {
  epoll_event event = {.events = events, .data = {.u64 = number}};
  // Fails when the kernel has no memory: then the deadline ends the connection.
  (void)::epoll_ctl(epoll_.get(), operation, socket, &event);
}

absl::Time MetricsServer::NextDeadline() const {
  absl::Time next = accept_again_;
  for (const auto& [number, connection] : connections_) {
    next = std::min(next, connection.deadline);
  }
  return next;
}

void MetricsServer::Run() {
  std::array<epoll_event, kEventsAtOnce> events{};
  while (true) {
    const absl::Duration left = NextDeadline() - SteadyNow();
    const int timeout_ms =
        left == absl::InfiniteDuration()
            ? -1
            : static_cast<int>(absl::ToInt64Milliseconds(std::max(left, absl::ZeroDuration())) + 1);
    // Fails with EINTR alone, and then nothing is ready.
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), timeout_ms);
    bool accepts = false;
    for (int i = 0; i < count; ++i) {
      const uint64_t number = events.at(static_cast<size_t>(i)).data.u64;
      if (number == kStopNumber) return;
      if (number == kListenerNumber) {
        accepts = true;
      } else {
        Go(number);
      }
    }
    SendAwayLate();
    if (accepts) AcceptSome();
    AnswerWhoAsks();
  }
}

void MetricsServer::Go(uint64_t number) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  bool lasts = true;
  switch (connection.state) {
    case State::kHead:
      lasts = ReadHead(connection);
      break;
    case State::kAsks:
      break;
    case State::kAnswer:
      lasts = Send(connection);
      break;
    case State::kFarewell:
      lasts = AwaitClose(connection);
      break;
  }
  if (!lasts) {
    connections_.erase(found);
  } else if (connection.state == State::kAnswer) {
    Watch(connection.socket.get(), EPOLL_CTL_MOD, EPOLLOUT, number);
  } else if (connection.state == State::kFarewell) {
    Watch(connection.socket.get(), EPOLL_CTL_MOD, EPOLLIN, number);
  }
}

bool MetricsServer::ReadHead(Connection& connection) {
  std::array<char, 4096> part{};
  // No more than a head: what follows is for nobody.
  while (connection.head.size() <= kHeadBytesMax) {
    const ssize_t count = TakeWhatIsThere(connection.socket.get(), part);
    if (count <= 0) return count < 0;
    const size_t searched = connection.head.size();
    connection.head.append(part.data(), static_cast<size_t>(count));
    const absl::string_view head = absl::string_view(connection.head).substr(0, kHeadBytesMax);
    if (!HasWholeHttpHead(head, searched)) continue;
    const HttpRequest request = ParseHttpRequest(head);
    connection.wants_body = request.wants_body;
    connection.head = std::string();
    if (request.status == kHttpOk) {
      connection.state = State::kAsks;
      return true;
    }
    return Answer(connection, request.status,
                  std::make_shared<const std::string>(HttpErrorBody(request.status)));
  }
  return Answer(connection, kHttpHeadTooLarge,
                std::make_shared<const std::string>(HttpErrorBody(kHttpHeadTooLarge)));
}

void MetricsServer::AnswerWhoAsks() {
  std::vector<Connections::iterator> asking;
  for (auto at = connections_.begin(); at != connections_.end(); ++at) {
    if (at->second.state == State::kAsks) asking.push_back(at);
  }
  if (asking.empty()) return;
  const auto text = std::make_shared<const std::string>(
      prometheus::TextSerializer().Serialize(metrics_->Collect()));
  for (const Connections::iterator at : asking) {
    Connection& connection = at->second;
    if (!Answer(connection, kHttpOk, text)) {
      connections_.erase(at);
    } else if (connection.state == State::kAnswer) {
      Watch(connection.socket.get(), EPOLL_CTL_MOD, EPOLLOUT, at->first);
    }
  }
}

bool MetricsServer::Answer(Connection& connection, int status,
                           std::shared_ptr<const std::string> body) {
  connection.answer_head = HttpAnswerHead(status, body->size());
  if (connection.wants_body) connection.body = std::move(body);
  connection.state = State::kAnswer;
  connection.deadline = SteadyNow() + limits_.answer_timeout;
  DropUnsentAtClose(connection.socket.get(), true);
  return Send(connection);
}

bool MetricsServer::Send(Connection& connection) {
  while (true) {
    absl::string_view body = "";
    if (connection.body != nullptr) body = *connection.body;
    const absl::string_view head =
        absl::string_view(connection.answer_head)
            .substr(std::min(connection.sent, connection.answer_head.size()));
    const size_t body_sent = connection.sent - (connection.answer_head.size() - head.size());
    // sendmsg(2) changes neither.
    std::array<iovec, 2> parts = {
        {{.iov_base = const_cast<char*>(head.data()), .iov_len = head.size()},
         {.iov_base = const_cast<char*>(body.data()) + body_sent,
          .iov_len = body.size() - body_sent}}};
    if (parts[0].iov_len + parts[1].iov_len == 0) break;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t count = ::sendmsg(connection.socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0) return WouldBlock(errno);
    connection.sent += static_cast<size_t>(count);
  }
  DropUnsentAtClose(connection.socket.get(), false);
  connection.body.reset();
  connection.state = State::kFarewell;
  connection.deadline = std::min(connection.deadline, SteadyNow() + kFarewellTime);
  return ::shutdown(connection.socket.get(), SHUT_WR) == 0;
}

bool MetricsServer::AwaitClose(Connection& connection) const {
  std::array<char, 4096> part{};
  return TakeWhatIsThere(connection.socket.get(), part) != 0;
}

void MetricsServer::Accepts(bool accepts) {
  accept_again_ = accepts ? absl::InfiniteFuture() : SteadyNow() + kAcceptPause;
  const uint32_t events = accepts ? uint32_t{EPOLLIN} : 0;
  Watch(listener_.get(), EPOLL_CTL_MOD, events, kListenerNumber);
}

void MetricsServer::AcceptSome() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    const bool full = connections_.size() >= limits_.connections_max;
    if (full && WhoMayGo() == connections_.end()) return;  // all are about to be answered
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) {
      if (full) connections_.erase(WhoMayGo());
      Add(std::move(socket));
      continue;
    }
    if (errno == EAGAIN) return;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    // No descriptor, or no memory: one of ours goes, or it is tried again in a while.
    const Connections::iterator oldest = WhoMayGo();
    if (oldest == connections_.end()) return Accepts(false);
    connections_.erase(oldest);
  }
}

void MetricsServer::Add(UniqueFd socket) {
  const uint64_t number = next_number_++;
  Watch(socket.get(), EPOLL_CTL_ADD, EPOLLIN, number);
  Connection& connection = connections_[number];
  connection.socket = std::move(socket);
  connection.deadline = SteadyNow() + limits_.head_timeout;
  Go(number);  // most have sent their request already
}

MetricsServer::Connections::iterator MetricsServer::WhoMayGo() {
  auto answered = connections_.end();
  for (auto at = connections_.begin(); at != connections_.end(); ++at) {
    const State state = at->second.state;
    if (state == State::kHead || state == State::kFarewell) return at;
    if (state == State::kAnswer && answered == connections_.end()) answered = at;
  }
  return answered;
}

void MetricsServer::SendAwayLate() {
  const absl::Time now = SteadyNow();
  for (auto at = connections_.begin(); at != connections_.end();) {
    // Who asks gets the text that is made next.
    const bool late = at->second.state != State::kAsks && at->second.deadline <= now;
    at = late ? connections_.erase(at) : std::next(at);
  }
  if (accept_again_ <= now) Accepts(true);
}

}  // namespace weightd
