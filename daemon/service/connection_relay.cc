#include "daemon/service/connection_relay.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "common/check.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/steady_time.h"

namespace weightd {
namespace {

constexpr int kEventsMax = 256;
// Turns between two looks at what came meanwhile.
constexpr int kTurns = 32;
constexpr int64_t kWaitMsMax = 60'000;
constexpr uint64_t kWakeTag = 0;

// Of a connection's two sockets; ids begin with 1.
uint64_t ClientTag(uint64_t id) { return id << 1; }
uint64_t ServerTag(uint64_t id) { return id << 1 | 1; }

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionRelay>> ConnectionRelay::Start(Options options) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return PosixError(errno, "make the relay's epoll");
  UniqueFd wake_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_event.valid()) return PosixError(errno, "make the relay's eventfd");
  std::unique_ptr<ConnectionRelay> relay(
      new ConnectionRelay(std::move(options), std::move(epoll), std::move(wake_event)));
  RETURN_IF_ERROR(relay->Watch(relay->wake_event_.get(), kWakeTag));
  ASSIGN_OR_RETURN(relay->thread_, Thread::Start("relay", [raw = relay.get()] { raw->Run(); }));
  return relay;
}

ConnectionRelay::~ConnectionRelay() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  Wake();
  thread_.Join();
  while (!connections_.empty()) Remove(connections_.begin()->first);
}

void ConnectionRelay::Add(UniqueFd connection, ConnectionGate::Admitted admitted) {
  {
    absl::MutexLock lock(&mu_);
    added_.emplace_back(std::move(connection), std::move(admitted));
  }
  Wake();
}

void ConnectionRelay::StopBeginning() {
  {
    absl::MutexLock lock(&mu_);
    begins_ = false;
  }
  Wake();
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(&begins_no_more_));
}

bool ConnectionRelay::AwaitEnd(absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return begun_ == 0; };
  return mu_.AwaitWithTimeout(absl::Condition(&none), timeout);
}

void ConnectionRelay::Wake() {
  const uint64_t one = 1;
  WEIGHTD_CHECK(::write(wake_event_.get(), &one, sizeof(one)) == sizeof(one));
}

absl::Status ConnectionRelay::Watch(int fd, uint64_t tag) const {
  epoll_event event{};
  event.events = EPOLLET | EPOLLIN | EPOLLOUT | EPOLLRDHUP;
  event.data.u64 = tag;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
  return PosixError(errno, "watch a connection");
}

void ConnectionRelay::Run() {
  while (TakeOrders()) {
    for (int i = 0; i < kTurns; ++i) {
      const std::optional<uint64_t> id = turns_.Pop();
      if (!id.has_value()) break;
      TakeTurn(*id);
    }
    WaitForEvents();
    LookForLate();
  }
}

void ConnectionRelay::WaitForEvents() {
  int timeout = turns_.empty() ? -1 : 0;
  if (turns_.empty() && !looks_.empty()) {
    const absl::Duration left = looks_.begin()->first - SteadyNow();
    timeout =
        static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 0, kWaitMsMax));
  }
  std::array<epoll_event, kEventsMax> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsMax, timeout);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events.at(static_cast<size_t>(i));
    OnEvents(event.data.u64, event.events);
  }
}

void ConnectionRelay::OnEvents(uint64_t tag, uint32_t events) {
  if (tag == kWakeTag) {
    uint64_t count = 0;
    (void)!::read(wake_event_.get(), &count, sizeof(count));
    return;
  }
  const uint64_t id = tag >> 1;
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& connection = *found->second;
  if (tag == ClientTag(id)) {
    connection.relayed.OnClientEvents(events);
  } else {
    connection.relayed.OnServerEvents(events);
    if (!connection.relayed.unread()) Uncount(connection);
  }
  Queue(id, connection);
}

bool ConnectionRelay::TakeOrders() {
  std::vector<std::pair<UniqueFd, ConnectionGate::Admitted>> added;
  bool begins = true;
  {
    absl::MutexLock lock(&mu_);
    if (stops_) return false;
    added.swap(added_);
    begins = begins_;
  }
  for (auto& [connection, admitted] : added) {
    TakeConnection(std::move(connection), std::move(admitted));
  }
  if (begins) return true;
  std::vector<uint64_t> silent;
  for (const auto& [id, connection] : connections_) {
    if (!connection->relayed.begun()) silent.push_back(id);
  }
  for (const uint64_t id : silent) Remove(id);
  absl::MutexLock lock(&mu_);
  begins_no_more_ = true;
  return true;
}

void ConnectionRelay::TakeConnection(UniqueFd connection, ConnectionGate::Admitted admitted) {
  const uint64_t id = next_id_++;
  const int fd = connection.get();
  connections_.emplace(id,
                       std::make_unique<Connection>(std::move(connection), std::move(admitted)));
  if (!Watch(fd, ClientTag(id)).ok()) Remove(id);
}

void ConnectionRelay::Queue(uint64_t id, Connection& connection) {
  const RelayedConnection& relayed = connection.relayed;
  if (connection.queued) return;
  if (relayed.lingers() && connection.lingers_until == absl::InfiniteFuture()) {
    connection.lingers_until = SteadyNow() + options_.linger_time;
    LookAt(connection.lingers_until, id, connection);
  }
  const bool listens = relayed.HasRequests() && !connection.held;
  if (!relayed.ended() && !relayed.HasAnswers() && !listens) return;
  connection.queued = true;
  turns_.Push(connection.peer.uid, id);
}

void ConnectionRelay::TakeTurn(uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& connection = *found->second;
  connection.queued = false;
  if (connection.relayed.HasAnswers()) connection.relayed.MoveAnswers();
  if (connection.relayed.HasRequests() && !connection.held) MoveRequests(id, connection);
  if (connection.relayed.ended()) return Remove(id);
  Queue(id, connection);
  QueueHeld(connection.peer.uid);  // where it had the turn of another, and nothing to move
}

bool ConnectionRelay::Begin(uint64_t id, Connection& connection) {
  absl::StatusOr<UniqueFd> grpcs = connection.relayed.Begin();
  if (!grpcs.ok()) return false;
  {
    absl::MutexLock lock(&mu_);
    ++begun_;
  }
  if (!Watch(connection.relayed.server(), ServerTag(id)).ok()) return false;
  options_.on_begin(*std::move(grpcs), std::move(connection.admitted));
  return true;
}

void ConnectionRelay::MoveRequests(uint64_t id, Connection& connection) {
  User& user = users_[connection.peer.uid];
  if (user.unread >= options_.unread_per_uid_max) {
    connection.held = true;
    user.held.push_back(id);
    return;
  }
  RelayedConnection& relayed = connection.relayed;
  if (!relayed.begun() && !Begin(id, connection)) relayed.End();
  std::vector<UniqueFd> strays;
  absl::Status moved = CheckDescriptorsOf(connection.peer.uid, options_.closer);
  if (!moved.ok()) relayed.End();
  if (!relayed.ended()) moved = relayed.MoveRequests(strays);
  options_.closer.Close(std::move(strays), connection.peer.uid);
  if (!moved.ok()) options_.on_refused(connection.peer, moved);
  if (!relayed.unread()) return QueueHeld(connection.peer.uid);
  connection.counted = true;
  ++user.unread;
  connection.unread_since = SteadyNow();
  LookAt(connection.unread_since + options_.unread_time, id, connection);
}

void ConnectionRelay::Uncount(Connection& connection) {
  if (!std::exchange(connection.counted, false)) return;
  --users_[connection.peer.uid].unread;
  QueueHeld(connection.peer.uid);
}

void ConnectionRelay::QueueHeld(uint32_t uid) {
  const auto found = users_.find(uid);
  if (found == users_.end()) return;
  User& user = found->second;
  while (!user.held.empty() && user.unread < options_.unread_per_uid_max) {
    const uint64_t id = user.held.front();
    user.held.pop_front();
    const auto next = connections_.find(id);
    if (next == connections_.end()) continue;
    next->second->held = false;
    Queue(id, *next->second);
    if (next->second->relayed.HasRequests()) return;
  }
  if (user.unread == 0 && user.held.empty()) users_.erase(found);
}

void ConnectionRelay::LookAt(absl::Time time, uint64_t id, Connection& connection) {
  if (time >= connection.next_look) return;
  connection.next_look = time;
  looks_.emplace(time, id);
}

// A part that was read is told by epoll; this is for those that are not, and against a kernel that
// does not tell.
void ConnectionRelay::LookForLate() {
  const absl::Time now = SteadyNow();
  while (!looks_.empty() && looks_.begin()->first <= now) {
    const auto [time, id] = *looks_.begin();
    looks_.erase(looks_.begin());
    const auto found = connections_.find(id);
    if (found == connections_.end() || found->second->next_look != time) continue;
    Connection& connection = *found->second;
    RelayedConnection& relayed = connection.relayed;
    connection.next_look = absl::InfiniteFuture();
    if (relayed.lingers() && now >= connection.lingers_until) relayed.End();
    if (!relayed.unread() || !relayed.StillUnread()) {
      Uncount(connection);
    } else if (now - connection.unread_since >= options_.unread_time) {
      Uncount(connection);
      LookAt(now + options_.unread_time, id, connection);
    } else {
      LookAt(connection.unread_since + options_.unread_time, id, connection);
    }
    if (relayed.lingers()) LookAt(connection.lingers_until, id, connection);
    Queue(id, connection);
  }
}

void ConnectionRelay::Remove(uint64_t id) {
  const auto found = connections_.find(id);
  const std::unique_ptr<Connection> connection = std::move(found->second);
  connections_.erase(found);
  Uncount(*connection);
  QueueHeld(connection->peer.uid);  // it may have been queued in the place of another
  UniqueFd client = connection->relayed.TakeClient();
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, client.get(), nullptr);
  options_.closer.CloseSocket(std::move(client), connection->peer.uid);
  if (!connection->relayed.begun()) return;
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection->relayed.server(), nullptr);
  absl::MutexLock lock(&mu_);
  --begun_;
}

}  // namespace weightd
