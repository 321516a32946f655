#include "daemon/service/peer_registry.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "common/errors.h"

namespace weightd {
namespace {

constexpr rlim_t kLastMax = 1 << 20;

}  // namespace

PeerRegistry PeerRegistry::ForThisProcess() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = 1024;
  const int last = static_cast<int>(std::min(limit.rlim_cur, kLastMax));
  return PeerRegistry(last / 2, last);
}

absl::StatusOr<UniqueFd> PeerRegistry::Register(UniqueFd connection, const Peer& peer) {
  absl::MutexLock lock(&mu_);
  // The kernel gives the lowest free number from `next_` on; past the end, start over once.
  for (int attempt = 0; attempt < 2; ++attempt) {
    UniqueFd moved(::fcntl(connection.get(), F_DUPFD_CLOEXEC, next_));
    if (moved.valid() && moved.get() < last_) {
      peers_[moved.get()] = peer;
      next_ = moved.get() + 1 < last_ ? moved.get() + 1 : first_;
      return moved;
    }
    next_ = first_;
  }
  return PosixError(EMFILE, "accept connection");
}

std::optional<Peer> PeerRegistry::Find(absl::string_view name) const {
  int fd = -1;
  if (!absl::ConsumePrefix(&name, "fd:") || !absl::SimpleAtoi(name, &fd)) return std::nullopt;
  absl::MutexLock lock(&mu_);
  const auto found = peers_.find(fd);
  if (found == peers_.end()) return std::nullopt;
  return found->second;
}

}  // namespace weightd
