#ifndef WEIGHTD_DAEMON_STORAGE_READ_REQUEST_H_
#define WEIGHTD_DAEMON_STORAGE_READ_REQUEST_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "daemon/storage/read_queue.h"

namespace weightd {

// The rules of ReadRequest, the same for every engine: INVALID_ARGUMENT with what is wrong.
absl::Status ValidateReadRequest(const ReadRequest& request,
                                 absl::Span<const absl::Span<std::byte>> slots);

// Of ioprio_set(2). Not from <linux/ioprio.h>, which newer kernels' headers have with a parameter
// named `class`.
constexpr int kIoPriorityOfThread = 1;  // IOPRIO_WHO_PROCESS

// Which engine reads `file` under a queue of `engine`: a ring may not read FUSE's (file_system.h),
// nor what may be FUSE's.
ReadEngine EngineFor(ReadEngine engine, const File& file);
inline constexpr absl::string_view kFuseWithoutRing =
    "on FUSE, and below an overlay or a loop device there may be one, the kernel mistakes the "
    "place of a ring's read that was answered short";

// What ioprio_set(2) and io_uring take; 0 for kNormal.
uint16_t IoPriorityValue(IoPriority priority);

// What Submit says at `depth` reads in flight: RESOURCE_EXHAUSTED.
absl::Status QueueFullError(uint32_t depth);

// What Poll tells of a call at `offset` that has not come back within `stall_timeout`.
ReadDone StuckRead(const ReadRequest& request, uint64_t offset, absl::Duration stall_timeout);
// What Submit says when `stuck` reads are: UNAVAILABLE/VOLUME_STUCK from `options.stuck_max` on.
absl::Status CheckNotTooManyStuck(const ReadRequest& request, uint32_t stuck,
                                  const ReadQueueOptions& options);
// Counts what Poll is about to hand back.
void CountDone(const ReadDone& read, uint32_t& in_flight, uint32_t& stuck);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_READ_REQUEST_H_
