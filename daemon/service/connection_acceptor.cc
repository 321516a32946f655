#include "daemon/service/connection_acceptor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "common/check.h"

namespace weightd {
namespace {

constexpr int kExhaustedWaitMs = 100;

}  // namespace

ConnectionAcceptor::ConnectionAcceptor(int listener, std::function<void(UniqueFd)> on_connection)
    : listener_(listener),
      on_connection_(std::move(on_connection)),
      stop_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  WEIGHTD_CHECK(stop_event_.valid());
  thread_ = std::thread([this] { Run(); });
}

void ConnectionAcceptor::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  WEIGHTD_CHECK(::write(stop_event_.get(), &one, sizeof(one)) == sizeof(one));
  thread_.join();
}

void ConnectionAcceptor::Run() {
  bool exhausted = false;
  while (true) {
    std::array<pollfd, 2> entries = {{{.fd = stop_event_.get(), .events = POLLIN, .revents = 0},
                                      {.fd = listener_, .events = POLLIN, .revents = 0}}};
    // Out of descriptors the listener stays readable: wait for the stop event alone.
    const int ready = ::poll(entries.data(), exhausted ? 1 : 2, exhausted ? kExhaustedWaitMs : -1);
    exhausted = false;
    if (entries[0].revents != 0) return;
    if (ready <= 0) continue;
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      on_connection_(UniqueFd(fd));
    } else {
      exhausted = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
    }
  }
}

}  // namespace weightd
