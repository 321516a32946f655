#ifndef WEIGHTD_DAEMON_STORAGE_READ_SPEED_H_
#define WEIGHTD_DAEMON_STORAGE_READ_SPEED_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/storage/volume.h"

namespace weightd {

struct ReadSpeedLimits {
  uint64_t bytes_max = uint64_t{256} << 20;
  absl::Duration time_max = absl::Seconds(2);
};

struct ReadSpeed {
  uint64_t bytes = 0;
  absl::Duration time;
  bool direct = false;  // past the page cache; else it may have come out of it
  std::string engine;   // "io_uring", "pread"
};

// Reads the beginning of `file` as a stage would, several blocks at once, and drops the bytes. Ends
// at the limits; one read that the volume does not answer may take five seconds longer.
// READ_FAILED, or DEADLINE_EXCEEDED for that. Thread-safe.
absl::StatusOr<ReadSpeed> MeasureReadSpeed(const File& file, const ReadSpeedLimits& limits);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_READ_SPEED_H_
