#ifndef WEIGHTD_DAEMON_DEVICE_HOST_MAPPING_H_
#define WEIGHTD_DAEMON_DEVICE_HOST_MAPPING_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace weightd {

// A range of addresses on a 2 MiB boundary whose pages can be exchanged while the addresses stay
// ours. Unmapped on destruction. Move-only, thread-compatible.
class HostMapping {
 public:
  // Reserves `bytes` of addresses (a multiple of 2 MiB) without memory behind them.
  static absl::StatusOr<HostMapping> Reserve(uint64_t bytes);
  HostMapping(HostMapping&& other) noexcept;
  HostMapping& operator=(HostMapping&& other) noexcept;
  ~HostMapping();

  // Puts the file there, shared.
  absl::Status MapWritable(int fd);
  // Puts the file there, read-only. A write-sealed file that `fd` could write is mapped privately
  // where the kernel (before 6.7) refuses to share it; the pages are the file's all the same.
  absl::Status MapReadOnly(int fd);
  // Takes the file away.
  absl::Status Clear();

  absl::Span<std::byte> memory() const { return {base_, bytes_}; }
  // Whether what is there now is the file's, and not mapped privately.
  bool shared() const { return shared_; }

 private:
  HostMapping(std::byte* base, uint64_t bytes) : base_(base), bytes_(bytes) {}
  // 0 or errno.
  int Map(int protection, int flags, int fd);

  std::byte* base_ = nullptr;
  uint64_t bytes_ = 0;
  bool shared_ = false;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_HOST_MAPPING_H_
