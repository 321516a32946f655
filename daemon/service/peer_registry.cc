#include "daemon/service/peer_registry.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/unique_fd.h"

namespace weightd {
namespace {

constexpr size_t kSweepSizeMin = 64;
constexpr absl::Duration kSweepInterval = absl::Milliseconds(10);

// Of a socket; nullopt for any other descriptor, and for none.
std::optional<uint64_t> CookieOf(int descriptor) {
  uint64_t cookie = 0;
  socklen_t bytes = sizeof(cookie);
  if (::getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) != 0) return std::nullopt;
  return cookie;
}

std::optional<int> NumberOf(absl::string_view name) {
  int number = -1;
  if (!absl::ConsumePrefix(&name, "fd:") || !absl::SimpleAtoi(name, &number)) return std::nullopt;
  return number;
}

}  // namespace

absl::Status PeerRegistry::Register(int connection, ConnectionGate::Admitted admitted) {
  const std::optional<uint64_t> cookie = CookieOf(connection);
  if (!cookie.has_value()) return PosixError(errno, "read a connection's cookie");
  Entry entry{
      .cookie = *cookie, .peer = std::move(admitted.peer), .share = std::move(admitted.share)};
  absl::MutexLock lock(&mu_);
  if (entries_.size() >= std::max(2 * sweep_size_, kSweepSizeMin)) SweepNow();
  entries_.insert_or_assign(connection, std::move(entry));
  return absl::OkStatus();
}

const PeerRegistry::Entry* PeerRegistry::FindEntry(absl::string_view name) const {
  const std::optional<int> number = NumberOf(name);
  if (!number.has_value()) return nullptr;
  const auto found = entries_.find(*number);
  if (found == entries_.end() || CookieOf(*number) != found->second.cookie) return nullptr;
  return &found->second;
}

std::optional<Peer> PeerRegistry::Find(absl::string_view name) const {
  absl::MutexLock lock(&mu_);
  const Entry* entry = FindEntry(name);
  if (entry == nullptr) return std::nullopt;
  return entry->peer;
}

bool PeerRegistry::IsConnected(absl::string_view name) const {
  absl::MutexLock lock(&mu_);
  if (FindEntry(name) == nullptr) return false;
  pollfd entry{.fd = *NumberOf(name), .events = POLLRDHUP, .revents = 0};
  return ::poll(&entry, 1, 0) == 0;
}

void PeerRegistry::Disconnect() {
  absl::MutexLock lock(&mu_);
  for (const auto& [number, entry] : entries_) {
    // One of our own: gRPC may close the number meanwhile, and it may become another file.
    const UniqueFd connection(::fcntl(number, F_DUPFD_CLOEXEC, 0));
    if (CookieOf(connection.get()) == entry.cookie) {
      (void)::shutdown(connection.get(), SHUT_RDWR);
    }
  }
}

void PeerRegistry::Sweep() {
  absl::MutexLock lock(&mu_);
  if (absl::Now() - sweep_time_ >= kSweepInterval) SweepNow();
}

void PeerRegistry::SweepNow() {
  absl::erase_if(entries_,
                 [](const auto& item) { return CookieOf(item.first) != item.second.cookie; });
  sweep_size_ = entries_.size();
  sweep_time_ = absl::Now();
}

size_t PeerRegistry::size() const {
  absl::MutexLock lock(&mu_);
  return entries_.size();
}

}  // namespace weightd
