#include "daemon/main/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace weightd {
namespace {

constexpr int kFirstPassedFd = 3;  // SD_LISTEN_FDS_START
constexpr int kPassedFdsMax = 64;

std::string TakeVariable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return "";
  std::string text = value;
  ::unsetenv(name);
  return text;
}

bool IsForUs(const std::string& pid) {
  int64_t number = 0;
  return absl::SimpleAtoi(pid, &number) && number == ::getpid();
}

std::vector<UniqueFd> PassedSockets() {
  const std::string pid = TakeVariable("LISTEN_PID");
  const std::string count_text = TakeVariable("LISTEN_FDS");
  (void)TakeVariable("LISTEN_FDNAMES");
  int count = 0;
  if (!IsForUs(pid) || !absl::SimpleAtoi(count_text, &count)) return {};
  std::vector<UniqueFd> sockets;
  for (int i = 0; i < std::min(count, kPassedFdsMax); ++i) {
    UniqueFd fd(kFirstPassedFd + i);
    if (::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) == 0) {
      sockets.push_back(std::move(fd));
    } else {
      (void)fd.release();  // none of that number was passed
    }
  }
  return sockets;
}

// One line per variable: the status is one line.
std::string OneLine(absl::string_view text) { return absl::StrReplaceAll(text, {{"\n", " "}}); }

}  // namespace

ServiceManager ServiceManager::FromEnvironment() {
  const std::string socket = TakeVariable("NOTIFY_SOCKET");
  const std::string watchdog_pid = TakeVariable("WATCHDOG_PID");
  int64_t watchdog_usec = 0;
  const bool watched = absl::SimpleAtoi(TakeVariable("WATCHDOG_USEC"), &watchdog_usec) &&
                       watchdog_usec > 0 && (watchdog_pid.empty() || IsForUs(watchdog_pid));
  ServiceManager manager(socket,
                         watched ? absl::Microseconds(watchdog_usec) : absl::ZeroDuration());
  manager.sockets_ = PassedSockets();
  return manager;
}

void ServiceManager::Ready(absl::string_view status) const {
  Send(absl::StrCat("READY=1\nSTATUS=", OneLine(status)));
}

void ServiceManager::Reloading() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  Send(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=",
                    absl::ToInt64Microseconds(absl::DurationFromTimespec(now))));
}

void ServiceManager::Stopping(absl::Duration time) const {
  Send(absl::StrCat("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=",
                    absl::ToInt64Microseconds(time)));
}

void ServiceManager::Status(absl::string_view status) const {
  Send(absl::StrCat("STATUS=", OneLine(status)));
}

void ServiceManager::Alive(absl::string_view status) const {
  Send(absl::StrCat("WATCHDOG=1\nSTATUS=", OneLine(status)));
}

void ServiceManager::Send(const std::string& message) const {
  sockaddr_un address{};
  if (notify_socket_.empty() || notify_socket_.size() >= sizeof(address.sun_path)) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, notify_socket_.data(), notify_socket_.size());
  size_t length = offsetof(sockaddr_un, sun_path) + notify_socket_.size();
  if (notify_socket_[0] == '@') {
    address.sun_path[0] = '\0';
  } else {
    ++length;  // the path's end
  }
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return;
  (void)::sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(length));
}

}  // namespace weightd
