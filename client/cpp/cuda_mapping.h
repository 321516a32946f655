#ifndef WEIGHTD_CLIENT_CPP_CUDA_MAPPING_H_
#define WEIGHTD_CLIENT_CPP_CUDA_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace weightd::client {

// Allocations of the daemon on one GPU, opened in this process. Thread-compatible.
//
// The GPU is found by its UUID among those that this process sees; no context is made on another
// one. Its primary context, the one that frameworks use, is held as long as the memory is open.
class CudaMapping {
 public:
  virtual ~CudaMapping() = default;

  // Opens each handle once. NOT_FOUND/DEVICE_NOT_FOUND when there is no driver or this process does
  // not see that GPU; FAILED_PRECONDITION/HANDLE_UNUSABLE when the driver refuses a handle.
  static absl::StatusOr<std::unique_ptr<CudaMapping>> Open(
      const std::string& gpu_uuid, absl::Span<const std::string> ipc_handles);

  // One device address per handle.
  virtual absl::Span<const std::byte* const> bases() const = 0;
};

// Copies `bytes` of memory that is mapped on that GPU to host memory, and waits for it.
// Thread-safe.
absl::Status CopyFromGpu(const std::string& gpu_uuid, const void* from, void* to, uint64_t bytes);

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_CUDA_MAPPING_H_
