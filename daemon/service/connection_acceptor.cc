#include "daemon/service/connection_acceptor.h"

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

namespace weightd {
namespace {

constexpr int kPauseMs = 100;

bool OutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
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
  return stops_ ? -1 : taken_;
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
      continue;
    }
    if (ready <= 0) continue;
    if (!options_.may_accept()) {
      pauses = true;
      continue;
    }
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      options_.on_connection(UniqueFd(fd));
    } else {
      pauses = OutOfDescriptors(errno);
    }
  }
}

}  // namespace weightd
