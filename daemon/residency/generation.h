#ifndef WEIGHTD_DAEMON_RESIDENCY_GENERATION_H_
#define WEIGHTD_DAEMON_RESIDENCY_GENERATION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/strong_id.h"
#include "daemon/device/device.h"
#include "daemon/format/manifest.h"
#include "daemon/staging/layout.h"
#include "daemon/storage/volume.h"

// What a generation is, and the states it can be in.

namespace weightd {

using GenerationId = StrongId<struct GenerationTag>;
using JobId = StrongId<struct JobTag>;

// The states of a generation, and every move between them:
//
//   from       to         when
//   (none)     kStaging   a job took its bytes from the budget
//   kStaging   kResident  every byte is in place and the files did not change
//   kStaging   kFailed    an error or a cancel; its memory is given back
//   kResident  kEvicting  nobody leases it, and room is needed or an operator asked
//   kResident  kEvicting  a newer one took its place, and its last lease ended
//   kEvicting  kGone      its memory is given back
//   kFailed    kGone      likewise
//
// Published memory is never written again: there is no way back to kStaging.
enum class ResidencyState { kStaging, kResident, kEvicting, kFailed, kGone };

bool CanMove(ResidencyState from, ResidencyState to);
absl::string_view ResidencyStateName(ResidencyState state);

// How one stage went.
struct StageReport {
  JobId job;
  std::string engine;  // "io_uring", "pread"
  std::vector<std::string> fallbacks;
  // Of data sections, by how they were read; see StageOutcome.
  uint64_t direct_bytes = 0;
  uint64_t cached_bytes = 0;
  uint64_t buffered_bytes = 0;
  uint64_t tensors_moved = 0;
  absl::Duration plan_time;     // find, open, headers, layout
  absl::Duration read_time;     // from the first block asked for to the last that came
  absl::Duration copy_time;     // from then until everything was in its place
  absl::Duration verify_time;   // are the files what they were when they were opened
  absl::Duration publish_time;  // seal

  uint64_t bytes_read() const { return direct_bytes + cached_bytes + buffered_bytes; }

  // Bytes in their place per second of read_time and copy_time; 0 where nothing was read.
  uint64_t bytes_per_second() const;
};

// What a resident generation holds. Immutable from publish to eviction, so it is shared without a
// lock.
struct GenerationContent {
  GenerationId id;
  std::string model;
  std::string root;
  std::string revision;
  DeviceInfo device;
  uint64_t file_bytes = 0;
  Manifest manifest;
  Layout layout;
  std::vector<FileIdentity> identities;  // of the files it was read from, like manifest.shards
  uint64_t allocated_bytes = 0;
  uint64_t tensor_bytes = 0;
  absl::Time resident_time;
  StageReport report;
};

// A generation as a list shows it.
struct GenerationInfo {
  std::shared_ptr<const GenerationContent> content;  // null while it is being staged
  GenerationId id;
  std::string model;
  std::string device;
  DeviceKind device_kind = DeviceKind::kHost;
  ResidencyState state = ResidencyState::kStaging;
  uint64_t allocated_bytes = 0;
  bool pinned = false;
  bool superseded = false;  // a newer generation took its place; it goes with its last lease
  uint32_t lease_count = 0;
  absl::Time last_use;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_GENERATION_H_
