#include "daemon/service/connection_acceptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/unix_socket.h"

namespace weightd {
namespace {

constexpr int kPauseMs = 100;
// Accepted in a row, before it is looked whether to stop.
constexpr int kBatch = 64;

bool OutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

// Whether the peer closed it meanwhile.
bool IsOver(int connection) {
  pollfd entry = {.fd = connection, .events = 0, .revents = 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLHUP) != 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Start(Options options) {
  const std::string name = options.name;
  UniqueFd wake_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_event.valid()) return PosixError(errno, absl::StrCat("make the eventfd of ", name));
  std::unique_ptr<ConnectionAcceptor> acceptor(
      new ConnectionAcceptor(std::move(options), std::move(wake_event)));
  ASSIGN_OR_RETURN(acceptor->thread_, Thread::Start(name, [raw = acceptor.get()] { raw->Run(); }));
  return acceptor;
}

void ConnectionAcceptor::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  Wake();
  thread_.Join();
}

void ConnectionAcceptor::ListenOn(int listener) {
  {
    absl::MutexLock lock(&mu_);
    wanted_ = listener;
  }
  Wake();
  absl::MutexLock lock(&mu_);
  const auto taken = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return taken_ == listener; };
  mu_.Await(absl::Condition(&taken));
}

void ConnectionAcceptor::Wake() {
  const uint64_t one = 1;
  WEIGHTD_CHECK(::write(wake_event_.get(), &one, sizeof(one)) == sizeof(one));
}

int ConnectionAcceptor::TakeListener() {
  uint64_t count = 0;
  (void)!::read(wake_event_.get(), &count, sizeof(count));
  absl::MutexLock lock(&mu_);
  taken_ = wanted_;
  if (stops_) return -1;
  // Somebody else may have taken a connection that poll() told of.
  (void)::fcntl(taken_, F_SETFL, ::fcntl(taken_, F_GETFL) | O_NONBLOCK);
  return taken_;
}

bool ConnectionAcceptor::AcceptAll(int listener) const {
  const bool drops_what_is_over = RefusesDescriptors(listener);
  for (int i = 0; i < kBatch; ++i) {
    if (!options_.may_accept()) return false;
    UniqueFd connection(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection.valid()) return !OutOfDescriptors(errno);
    if (drops_what_is_over && IsOver(connection.get())) continue;
    options_.on_connection(std::move(connection));
  }
  return true;
}

void ConnectionAcceptor::Run() {
  bool pauses = false;
  int listener = TakeListener();
  while (listener >= 0) {
    std::array<pollfd, 2> entries = {{{.fd = wake_event_.get(), .events = POLLIN, .revents = 0},
                                      {.fd = listener, .events = POLLIN, .revents = 0}}};
    // While it pauses the listener stays readable: wait for the wake event alone.
    const int ready = ::poll(entries.data(), pauses ? 1 : 2, pauses ? kPauseMs : -1);
    pauses = false;
    if (entries[0].revents != 0) {
      listener = TakeListener();
    } else if (ready > 0) {
      pauses = !AcceptAll(listener);
    }
  }
}

}  // namespace weightd
