#ifndef WEIGHTD_DAEMON_DEVICE_PINNED_ALLOCATION_H_
#define WEIGHTD_DAEMON_DEVICE_PINNED_ALLOCATION_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "daemon/device/device.h"

// Host memory that GPUs copy from by themselves, at the speed of the bus: no processor has to carry
// the bytes to a staging buffer first.

namespace weightd {

// Pins the sealed host memory of `allocation` for all of `gpus`, which outlive it, and puts an
// allocation in its place that unpins it before it goes. On an error `allocation` is as it was:
// FAILED_PRECONDITION/DEVICE_FAILED for memory that cannot be pinned, or a GPU's own error.
absl::Status PinForGpus(absl::Span<Device* const> gpus, std::shared_ptr<Allocation>& allocation);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_PINNED_ALLOCATION_H_
