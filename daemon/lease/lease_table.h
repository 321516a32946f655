#ifndef WEIGHTD_DAEMON_LEASE_LEASE_TABLE_H_
#define WEIGHTD_DAEMON_LEASE_LEASE_TABLE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/outbox.h"
#include "common/strong_id.h"
#include "common/unique_fd.h"
#include "daemon/lease/peer.h"
#include "daemon/residency/copy_hold.h"
#include "daemon/residency/residency.h"

// Who holds what.
//
// A lease lives as long as the stream it was granted on: Grant() when it opens, End() when it is
// gone, however it went. There is no time-out and nothing to renew.
//
// Thread-safe. No call blocks on I/O or on a client; RedeemTicket() duplicates descriptors.

namespace weightd {

using LeaseId = StrongId<struct LeaseTag>;

struct LeaseOptions {
  uint32_t leases_per_uid_max = 1024;  // 1..65536
  uint32_t leases_max = 16384;         // of all, 1..65536
  absl::Status Validate() const;
};

// What a lease holder is told later.
struct LeaseNotice {
  enum class Kind {
    kSuperseded,  // a newer generation is there
    kDraining,    // the daemon ends
    kRevoking,    // an operator evicts by force: the lease ends at `deadline`
    kRevoked,     // it has ended
    kDamaged,     // the bytes are not what was staged
  };
  Kind kind = Kind::kSuperseded;
  GenerationId generation = {};  // the newer one, with kSuperseded
  absl::Time deadline = {};      // with kRevoking and kDraining
};

struct LeaseRequest {
  Peer peer;
  std::string model;
  std::string device;       // empty: see Residency::Acquire
  std::string client_name;  // at most 64 bytes
  JobId job;                // that it waited for; not valid: the model was there
  absl::Time asked_time = absl::InfinitePast();  // of the attach, for its duration
  // Called with each notice, in order, on any thread, without locks: it must not block. Not called
  // after End() has returned.
  std::function<void(const LeaseNotice&)> on_notice;
};

// What a granted lease hands to its client.
struct Grant {
  LeaseId lease;
  std::shared_ptr<const CopyContent> content;
  // CUDA: 64 bytes, and no ticket. Host: empty, and a ticket for the handle socket.
  std::string cuda_ipc_handle;
  std::string ticket;
};

struct LeaseInfo {
  LeaseId id;
  Peer peer;
  std::string client_name;
  std::shared_ptr<const CopyContent> content;
  absl::Time since;
};

// How a lease ended: reason words of kLeaseEnded and kLeaseRevoked.
inline constexpr absl::string_view kStreamEnded = "STREAM_ENDED";

class LeaseTable {
 public:
  // `residency` must outlive the table; its supersede listener is set here.
  LeaseTable(const LeaseOptions& options, Residency& residency, EventLog& events,
             const Clock& clock);
  // No lease may be left.
  ~LeaseTable();

  // MODEL_NOT_RESIDENT, HANDLE_UNUSABLE (CUDA IPC for a process of another PID namespace),
  // LIMIT_EXCEEDED, DRAINING after NotifyDraining(), or DEVICE_FAILED when the driver does not
  // export.
  absl::StatusOr<Grant> GrantLease(LeaseRequest request);
  // Likewise, of a copy that is held since a job staged it for this caller.
  absl::StatusOr<Grant> GrantHeld(LeaseRequest request, const CopyHold& hold);
  // Whether a lease would be refused for `uid` whatever the model: before somebody waits for it.
  absl::Status CheckMayGrant(uint32_t uid) const;

  // From now on; leases beyond new limits stay.
  void set_limits(const LeaseOptions& limits);

  // Ends a lease; `why` goes into the event ("cancelled", "client gone"). Unknown ids are ignored.
  // Each holder that listens calls it, also of a lease that was revoked. Waits for a notice that is
  // being told, unless the holder calls it then.
  void End(LeaseId id, absl::string_view why);

  // The descriptors of a grant, once, for the process that the grant was for.
  // PERMISSION_DENIED/TICKET_INVALID for any other ticket or process. After any other error the
  // ticket is still good.
  absl::StatusOr<std::vector<UniqueFd>> RedeemTicket(absl::string_view ticket, const Peer& peer);

  // For copies that are evicted by force. First tells their holders; then, at the deadline, ends
  // the leases that are left and tells whose they were. How many it ended.
  void NotifyRevoking(const std::vector<CopyInfo>& copies, absl::Time deadline);
  uint32_t Revoke(const std::vector<CopyInfo>& copies);

  // Tells every holder that its lease ends at `deadline`, and grants none any more: one that came
  // after would not be told.
  void NotifyDraining(absl::Time deadline);

  // Oldest first; of one model if not empty.
  std::vector<LeaseInfo> List(absl::string_view model = "") const;
  uint32_t count() const;
  // Blocks until no lease is held or the deadline has come.
  void WaitUntilEmpty(absl::Time deadline) const;

 private:
  using Notices = Outbox<LeaseNotice>;
  // Who is to be told, once the lock is given back.
  using ToTell = std::vector<std::shared_ptr<Notices>>;

  struct Lease {
    std::shared_ptr<const LeaseInfo> info;
    std::shared_ptr<Allocation> allocation;
    std::shared_ptr<Notices> notices;  // null where nobody listens
    std::string ticket;                // empty when there is none, or it was used
    GenerationId last_told;            // of the notices that it is superseded
  };

  static void Put(const Lease& lease, const LeaseNotice& notice, ToTell& to_tell);
  static void Supersede(Lease& lease, GenerationId newer, ToTell& to_tell);
  static void Tell(const ToTell& to_tell);
  absl::StatusOr<Grant> GrantOn(LeaseRequest request, HeldCopy held);
  // Takes from `held` what the lease needs; what happened to the copy meanwhile is put for telling.
  absl::StatusOr<Grant> AddLease(const LeaseRequest& request, HeldCopy& held, std::string handle,
                                 std::string ticket, ToTell& to_tell);
  absl::Status CheckLimits(uint32_t uid) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  absl::StatusOr<std::string> ExportHandle(const HeldCopy& held, const Peer& peer) const;
  void NotifySuperseded(CopyId old, GenerationId newer);
  void NotifyDamaged(CopyId damaged);
  enum class TakenOut { kEnded, kRevoked };
  // Takes it out of the books, publishes how, and gives the copy back: in this order, so that
  // nobody reads of an eviction before the end of the last lease. kRevoked tells the holder. False
  // for one that is unknown or was revoked.
  bool TakeOut(LeaseId id, TakenOut how, absl::string_view why);
  void PublishGranted(const LeaseInfo& info, JobId job, absl::Time asked_time);

  Residency& residency_;
  EventLog& events_;
  const Clock& clock_;

  // Before ResidencyTable's, after none. Never held while a holder is told.
  mutable absl::Mutex mu_;
  LeaseOptions options_ ABSL_GUARDED_BY(mu_);
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<LeaseId, Lease> leases_ ABSL_GUARDED_BY(mu_);
  // Of leases that were revoked and whose holders have not called End(): they may be being told.
  absl::flat_hash_map<LeaseId, std::shared_ptr<Notices>> revoked_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<uint32_t, uint32_t> leases_per_uid_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, LeaseId> tickets_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_LEASE_LEASE_TABLE_H_
