#ifndef WEIGHTD_DAEMON_DEVICE_PINNED_RANGES_H_
#define WEIGHTD_DAEMON_DEVICE_PINNED_RANGES_H_

#include "daemon/device/cuda_context.h"

#if WEIGHTD_HAVE_CUDA

#include <cstddef>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

namespace weightd {

// Host memory that the driver has pinned, for all GPUs of the process: the driver takes a range
// once, however many GPUs copy from it. Thread-safe.
class PinnedRanges {
 public:
  enum class Access { kReadWrite, kReadOnly };  // as this process has it mapped

  // Pins the range on the first call for it.
  absl::Status Add(CudaContext& context, absl::Span<const std::byte> memory, Access access);
  // Unpins it on the last call; what the driver refuses becomes a warning of `context`.
  void Remove(CudaContext& context, absl::Span<const std::byte> memory);

 private:
  using Range = std::pair<const std::byte*, size_t>;
  // Held across the driver's call: a second GPU may use the range only when it is pinned. Guards
  // nothing that a copy or an allocation needs.
  absl::Mutex mu_;
  std::map<Range, int> users_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA

#endif  // WEIGHTD_DAEMON_DEVICE_PINNED_RANGES_H_
