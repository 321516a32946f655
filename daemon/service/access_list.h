#ifndef WEIGHTD_DAEMON_SERVICE_ACCESS_LIST_H_
#define WEIGHTD_DAEMON_SERVICE_ACCESS_LIST_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "daemon/lease/peer.h"

// Who may do what: one allow-list of uids and gids for attaching, which includes all that only
// reads, and one for operating (stage, evict, pin).

namespace weightd {

enum class Right { kAttach, kOperate };

struct AccessOptions {
  std::vector<uint32_t> attach_uids;
  std::vector<uint32_t> attach_gids;  // primary or supplementary
  std::vector<uint32_t> operate_uids;
  std::vector<uint32_t> operate_gids;
};

// What holds where the configuration says nothing: root and the daemon's own uid may do everything,
// the daemon's group may attach.
AccessOptions DefaultAccess();

// Whether `peer` has `right`; who may operate may attach.
bool Allows(const AccessOptions& access, const Peer& peer, Right right);

// PERMISSION_DENIED/PERMISSION_DENIED with uid, gid and the setting that would allow it.
absl::Status CheckAccess(const AccessOptions& access, const Peer& peer, Right right);

// The lists that hold now. Who was on them and is not any more keeps the leases it has, and gets no
// new one. Thread-safe.
class AccessList {
 public:
  explicit AccessList(AccessOptions options)
      : options_(std::make_shared<const AccessOptions>(std::move(options))) {}

  void Set(AccessOptions options) {
    auto fresh = std::make_shared<const AccessOptions>(std::move(options));
    absl::MutexLock lock(&mu_);
    options_ = std::move(fresh);
  }
  absl::Status Check(const Peer& peer, Right right) const;
  // How many times Check() refused `right`.
  uint64_t refusals(Right right) const { return RefusalsOf(right); }
  AccessOptions Get() const { return *current(); }

 private:
  std::atomic<uint64_t>& RefusalsOf(Right right) const {
    return right == Right::kAttach ? attach_refusals_ : operate_refusals_;
  }
  std::shared_ptr<const AccessOptions> current() const {
    absl::MutexLock lock(&mu_);
    return options_;
  }

  mutable std::atomic<uint64_t> attach_refusals_ = 0;
  mutable std::atomic<uint64_t> operate_refusals_ = 0;
  mutable absl::Mutex mu_;
  std::shared_ptr<const AccessOptions> options_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_ACCESS_LIST_H_
