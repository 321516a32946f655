#ifndef WEIGHTD_DAEMON_RESIDENCY_GENERATION_H_
#define WEIGHTD_DAEMON_RESIDENCY_GENERATION_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/strong_id.h"
#include "daemon/device/device.h"
#include "daemon/format/manifest.h"
#include "daemon/format/tensor_hasher.h"
#include "daemon/staging/layout.h"
#include "daemon/staging/verify_run.h"
#include "daemon/storage/volume.h"

// What a generation and a copy of it are, and the states that a copy can be in.
//
// A generation is one content of a checkpoint, read from the volume once. It is in memory as one or
// several copies, at most one on each device, which have the same bytes at the same offsets.

namespace weightd {

using GenerationId = StrongId<struct GenerationTag>;
using CopyId = StrongId<struct CopyTag>;
using JobId = StrongId<struct JobTag>;

// The states of a copy, and every move between them:
//
//   from       to         when
//   (none)     kStaging   a job or a demotion took its bytes from the budget
//   kStaging   kResident  every byte is in place, and the files did not change
//   kStaging   kFailed    an error or a cancel; its memory is given back
//   kResident  kRevoking  an operator evicts by force what is held: its holders are told
//   kRevoking  kEvicting  its last holder is gone, by itself or by force
//   kResident  kDemoting  nobody holds it, room is needed on its GPU: the host tier may keep it
//   kDemoting  kEvicting  the host tier has it now, or has no room for it
//   kResident  kEvicting  nobody holds it, and room is needed, an operator asked, or a newer one
//                         took its place
//   kEvicting  kGone      its memory is given back
//   kFailed    kGone      likewise; not before the reads that a volume does not answer come back
//
// Published memory is never written again: there is no way back to kStaging.
enum class ResidencyState { kStaging, kResident, kRevoking, kDemoting, kEvicting, kFailed, kGone };

// Why a copy left: the word of events, log and metrics.
enum class EvictReason {
  kRoom,        // another model needed its bytes
  kOperator,    // `weightctl evict`
  kForce,       // `weightctl evict --force`, which ended its leases
  kSuperseded,  // a newer generation took its place
  kShutdown,    // the daemon ends
};
inline constexpr std::array kEvictReasons = {EvictReason::kRoom, EvictReason::kOperator,
                                             EvictReason::kForce, EvictReason::kSuperseded,
                                             EvictReason::kShutdown};
// "ROOM" and so on.
absl::string_view EvictReasonName(EvictReason reason);

struct CopyInfo;
// Whether `model@asked` names the copy: by a name it was asked for under, or by its commit or the
// first 7 digits or more of it. Empty names the copies that follow the volume.
bool NamesRevision(const std::string& asked, const CopyInfo& info);

bool CanMove(ResidencyState from, ResidencyState to);
absl::string_view ResidencyStateName(ResidencyState state);

// How one stage went.
struct StageReport {
  JobId job;
  std::string source;  // kVolumeSource, or the device that it was copied from
  std::string engine;  // "io_uring", "pread"; empty where nothing was read
  std::vector<std::string> fallbacks;
  // Of data sections, by how they were read; see StageOutcome.
  uint64_t direct_bytes = 0;
  uint64_t cached_bytes = 0;
  uint64_t buffered_bytes = 0;
  uint64_t read_retries = 0;
  uint64_t copied_bytes = 0;  // from another device's copy
  uint64_t tensors_moved = 0;
  std::optional<VerifyMode> verify;  // how the bytes were looked at; none where nothing was read
  uint64_t hashes_checked = 0;       // of those that the files have
  uint64_t files_checked = 0;        // whole ones, against SHA-256s of elsewhere
  std::string digest_manifest;       // that was compared with; empty: none
  absl::Duration plan_time;          // find, open, headers, layout
  absl::Duration read_time;          // from the first block asked for to the last that came
  absl::Duration copy_time;          // from then until everything was in its place
  absl::Duration verify_time;        // are the files what they were when they were opened
  absl::Duration publish_time;       // seal

  uint64_t bytes_read() const { return direct_bytes + cached_bytes + buffered_bytes; }

  // Of all phases.
  absl::Duration total_time() const;
  // Bytes in their place per second of read_time and copy_time; 0 where nothing was moved.
  uint64_t bytes_per_second() const;
};
inline constexpr absl::string_view kVolumeSource = "volume";

// What a resident copy holds. Immutable from publish to eviction, so it is shared without a lock.
// Copies of a generation share manifest, layout and digests.
struct CopyContent {
  GenerationId id;
  CopyId copy;
  std::string model;
  std::string root;
  std::string revision;
  DeviceInfo device;
  uint64_t file_bytes = 0;
  std::shared_ptr<const Manifest> manifest;
  std::shared_ptr<const Layout> layout;
  // Of the tensors, like manifest->tensors; null where none were made.
  std::shared_ptr<const TensorDigests> digests;
  std::vector<FileIdentity> identities;  // of the files it was read from, like manifest->shards
  uint64_t allocated_bytes = 0;
  uint64_t tensor_bytes = 0;
  absl::Time resident_time;
  StageReport report;
};

// A copy as a list shows it.
struct CopyInfo {
  std::shared_ptr<const CopyContent> content;  // null while it is being staged
  CopyId copy;
  GenerationId id;
  std::string model;
  // Commit of a hub cache's snapshot, else empty.
  std::string revision;
  // The name it was staged under, of `model@name`: it stands beside the copy that follows the
  // volume. Empty for that one.
  std::string asked_revision;
  // Each name that it was asked for under, `asked_revision` among them: more than one where
  // `model` and `model@name` mean the same files.
  std::set<std::string> asked_as;
  std::string device;
  DeviceKind device_kind = DeviceKind::kHost;
  ResidencyState state = ResidencyState::kStaging;
  uint64_t allocated_bytes = 0;
  JobId job;  // that stages it
  bool pinned = false;
  bool superseded = false;     // a newer generation took its place; it goes with its last holder
  GenerationId superseded_by;  // that one, the newest
  bool damaged = false;        // its bytes are not what was staged: nobody gets it any more
  bool stuck = false;          // in kFailed: reads of a volume that hangs may still write to it
  bool host_copy = false;      // kept for the GPUs: nobody asked for it on the host
  uint32_t lease_count = 0;
  uint32_t hold_count = 0;  // of the daemon itself: it is copied, or about to be leased
  absl::Time last_use;

  bool is_held() const { return lease_count > 0 || hold_count > 0; }
};

// What every model may have of host memory for the table of its tensors without its being booked.
inline constexpr uint64_t kFreeTableBytes = 1 << 20;
// What the table takes beyond that, for as long as a copy is there: a file of a few MB may describe
// a million tensors.
uint64_t BookedTableBytes(const Manifest& manifest);
// What is booked of it with a copy on `device`, in whole granules: nothing on a GPU.
uint64_t BookedTableBytes(const Manifest& manifest, const Device& device);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_GENERATION_H_
