#ifndef WEIGHTD_CLIENT_CPP_MAPPED_MEMORY_H_
#define WEIGHTD_CLIENT_CPP_MAPPED_MEMORY_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/cpp/cuda_mapping.h"
#include "client/cpp/host_mapping.h"
#include "common/socket_paths.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd::client {

inline constexpr absl::string_view kHostDevice = "host";

// All allocations of one grant in this process's address space. Move-only. Thread-compatible.
class MappedMemory {
 public:
  // Opens every handle of `granted`: descriptors for "host", CUDA IPC for a GPU. INTERNAL for a
  // handle of the other kind.
  static absl::StatusOr<MappedMemory> Map(const v1::Granted& granted,
                                          const SocketDirectory& socket_dir, absl::Time deadline);

  // One address per allocation; null for one without bytes.
  absl::Span<const std::byte* const> bases() const { return bases_; }

 private:
  MappedMemory() = default;
  absl::Status MapHost(const v1::Granted& granted, const SocketDirectory& socket_dir,
                       absl::Time deadline);
  absl::Status MapAll(const v1::Granted& granted, const std::vector<UniqueFd>& fds);
  absl::Status MapCuda(const v1::Granted& granted);

  std::vector<const std::byte*> bases_;
  std::vector<HostMapping> host_;
  std::unique_ptr<CudaMapping> cuda_;
};

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_MAPPED_MEMORY_H_
