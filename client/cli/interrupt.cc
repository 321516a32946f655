#include "client/cli/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "absl/time/clock.h"

namespace weightd::cli {
namespace {

// For the handler, which knows nothing else.
std::atomic<int> signalled_fd = -1;

void OnSignal(int /*signal*/) {
  const int saved = errno;
  const uint64_t one = 1;
  // The counter cannot be full, and there is nobody to tell.
  (void)!::write(signalled_fd.load(), &one, sizeof(one));
  errno = saved;
}

}  // namespace

Interrupt::Interrupt() {
  signalled_fd.store(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  struct sigaction action {};
  action.sa_handler = OnSignal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, &before_int_);
  ::sigaction(SIGTERM, &action, &before_term_);
}

Interrupt::~Interrupt() {
  ::sigaction(SIGINT, &before_int_, nullptr);
  ::sigaction(SIGTERM, &before_term_, nullptr);
  ::close(signalled_fd.exchange(-1));
}

bool Interrupt::Pause(absl::Duration time) const {
  const absl::Time deadline = absl::Now() + time;
  while (true) {
    const absl::Duration left = deadline - absl::Now();
    pollfd entry = {.fd = signalled_fd.load(), .events = POLLIN, .revents = 0};
    const int timeout = static_cast<int>(
        std::max<int64_t>(absl::ToInt64Milliseconds(left + absl::Microseconds(999)), 0));
    const int ready = ::poll(&entry, 1, timeout);
    if (ready > 0) return false;
    if (ready == 0 || errno != EINTR) return true;
  }
}

}  // namespace weightd::cli
