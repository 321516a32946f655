#include "daemon/service/socket_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/check.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_call.h"

namespace weightd {
namespace {

constexpr uint32_t kEvents =
    IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;
constexpr int kUnwatchedMs = 5'000;
// Who removes one file may be about to remove the rest.
constexpr int kSettleMs = 200;

}  // namespace

absl::StatusOr<std::unique_ptr<SocketWatch>> SocketWatch::Start(std::string directory,
                                                                std::function<void()> check) {
  std::unique_ptr<SocketWatch> watch(new SocketWatch(std::move(directory), std::move(check)));
  watch->stop_event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!watch->stop_event_.valid()) return PosixError(errno, "make the eventfd of a socket watch");
  watch->inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ASSIGN_OR_RETURN(watch->thread_, Thread::Start("sockets", [raw = watch.get()] { raw->Run(); }));
  return watch;
}

void SocketWatch::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  WEIGHTD_CHECK(::write(stop_event_.get(), &one, sizeof(one)) == sizeof(one));
  thread_.Join();
}

bool SocketWatch::WaitForEvents(int timeout_ms) {
  // A descriptor of -1 is left out.
  std::array<pollfd, 2> entries = {{{.fd = stop_event_.get(), .events = POLLIN, .revents = 0},
                                    {.fd = inotify_.get(), .events = POLLIN, .revents = 0}}};
  (void)::poll(entries.data(), entries.size(), timeout_ms);
  return entries[0].revents == 0;
}

void SocketWatch::Run() {
  while (true) {
    // Each time: the directory may be another one. Of the same it is the same watch.
    const bool watched = VolumeCall(SYS_inotify_add_watch, inotify_.get(),
                                    reinterpret_cast<long>(directory_.c_str()), kEvents) >= 0;
    check_();  // what happened before there was a watch
    if (!WaitForEvents(watched ? -1 : kUnwatchedMs)) return;
    pollfd stop = {.fd = stop_event_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&stop, 1, kSettleMs) > 0) return;
    // Whatever they tell, all is looked at.
    std::array<char, 4096> events{};
    while (::read(inotify_.get(), events.data(), events.size()) > 0) {
    }
  }
}

}  // namespace weightd
