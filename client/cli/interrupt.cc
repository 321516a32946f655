#include "client/cli/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "absl/time/clock.h"

namespace weightd::cli {
namespace {

// For the handler, which knows nothing else.
std::atomic<int> signalled_fd = -1;
std::atomic<int> last_signal = 0;

void OnSignal(int signal) {
  const int saved = errno;
  last_signal.store(signal);
  const uint64_t one = 1;
  // The counter cannot be full, and there is nobody to tell.
  (void)!::write(signalled_fd.load(), &one, sizeof(one));
  errno = saved;
}

}  // namespace

Interrupt::Interrupt() {
  last_signal.store(0);
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

int Interrupt::signal() const { return last_signal.load(); }

bool Interrupt::Pause(absl::Duration time, int or_readable) const {
  const absl::Time deadline = absl::Now() + time;
  while (true) {
    const absl::Duration left = deadline - absl::Now();
    // A descriptor of -1 is left out.
    std::array<pollfd, 2> entries = {{{.fd = signalled_fd.load(), .events = POLLIN, .revents = 0},
                                      {.fd = or_readable, .events = POLLIN, .revents = 0}}};
    const int timeout = static_cast<int>(
        std::max<int64_t>(absl::ToInt64Milliseconds(left + absl::Microseconds(999)), 0));
    const int ready = ::poll(entries.data(), entries.size(), timeout);
    if (ready > 0) return entries[0].revents == 0;
    if (ready == 0 || errno != EINTR) return true;
  }
}

}  // namespace weightd::cli
