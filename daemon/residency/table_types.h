#ifndef WEIGHTD_DAEMON_RESIDENCY_TABLE_TYPES_H_
#define WEIGHTD_DAEMON_RESIDENCY_TABLE_TYPES_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "daemon/residency/generation.h"

// What goes into the books and comes out of them: see residency_table.h. Plain data.

namespace weightd {

struct DeviceBudget {
  std::string device;
  DeviceKind kind = DeviceKind::kHost;
  uint64_t bytes = 0;          // for copies of models
  uint64_t reserve_bytes = 0;  // left to the engines; shown, and not in `bytes`
  // Copies at once, of any state: one in host memory is a descriptor of the process.
  uint64_t copies_max = std::numeric_limits<uint64_t>::max();
};

struct DeviceUsage {
  DeviceBudget budget;
  uint64_t used_bytes = 0;  // everything below, and what nobody holds or pinned
  uint64_t resident_bytes = 0;
  uint64_t staging_bytes = 0;  // being staged
  uint64_t stuck_bytes = 0;    // of failed stages whose reads do not come back
  uint64_t leased_bytes = 0;
  uint64_t pinned_bytes = 0;
  // Of copies that are to go, and that clients still hold: superseded, evicted by force, damaged.
  uint64_t outgoing_leased_bytes = 0;
  uint32_t resident_copies = 0;
};

struct TableOptions {
  std::vector<DeviceBudget> budgets;  // one per device
  bool demote = true;                 // what goes from a GPU is kept in the host tier if it fits
};

// An operator's wish that a model stays on a device, whether it is there or not.
struct Pin {
  std::string model;
  std::string asked_revision;  // as in CopyInfo
  std::string device;
  // clang-tidy 14 takes the operator for a 0.
  friend auto operator<=>(const Pin&, const Pin&) = default;  // NOLINT(modernize-use-nullptr)
};

// A copy whose memory must go now.
struct Doomed {
  CopyInfo info;
  std::shared_ptr<Allocation> allocation;  // the last reference outside the caller
  EvictReason reason = EvictReason::kRoom;
  std::string why;          // for people: "room for org/name", "superseded", "requested"
  bool may_demote = false;  // copy it to the host tier first, if Admit() has room there
};

// Where a claim wants a copy.
struct ClaimedPlace {
  std::string device;
  uint64_t bytes = 0;
  bool host_copy = false;  // for the GPUs' sake: left out where it does not fit
};

// What a job wants memory for.
struct StageClaim {
  std::string model;
  std::string revision;
  std::string asked_revision;
  JobId job;
  GenerationId generation;  // that the copies are made from; not valid: a new one, read from files
  std::vector<ClaimedPlace> places;
  // Whether to wait, rather than be refused, for what nobody but the daemon holds: a job that has
  // told its end, or copies from it, lets go of it soon.
  bool waits_for_holds = false;
  // Only what was used before then goes to make room.
  absl::Time used_before = absl::InfiniteFuture();
};

// What Admit() decided. Either `admitted`, and the bytes are taken; or Admit() must be called
// again, when the `victims` are freed or, if there are none, when AwaitChange() returned: then
// others are giving back bytes that will do.
struct Admission {
  bool admitted = false;
  GenerationId generation;
  std::vector<CopyId> copies;  // like the places; not valid for a host copy that does not fit
  std::vector<Doomed> victims;
  uint64_t change_count = 0;  // for AwaitChange()
};

struct StagedCopy {
  CopyId id;
  std::shared_ptr<const CopyContent> content;
  std::shared_ptr<Allocation> allocation;
};

struct PublishResult {
  std::vector<Doomed> doomed;
  std::vector<CopyInfo> superseded;  // that are held, and stay until they are not
};

// What stands on a copy: a lease, or a hold of the daemon's own.
struct HeldCopy {
  std::shared_ptr<const CopyContent> content;
  std::shared_ptr<Allocation> allocation;  // drop before Release() or Unhold()
};

// A copy that somebody wants and that may be there already.
struct UseWish {
  std::string model;
  std::string asked_revision;
  std::string device;
  std::vector<FileIdentity> identities;
  bool pin = false;
  bool host_copy = false;  // asked for as a host copy only
  bool current = false;    // the volume has it now, and calls it the model
};

struct UseResult {
  std::shared_ptr<const CopyContent> content;
  PublishResult published;  // it may begin to follow the volume, in place of an older one
};

struct EvictPlan {
  std::vector<Doomed> doomed;
  std::vector<CopyInfo> revoking;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_TABLE_TYPES_H_
