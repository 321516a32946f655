#include "client/cpp/mapped_memory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace weightd::client {
namespace {

absl::Status WrongHandle(int allocation, absl::string_view device, absl::string_view wanted) {
  return absl::InternalError(absl::StrCat("grant from weightd: allocation ", allocation, " on ",
                                          device, " comes without ", wanted));
}

}  // namespace

absl::StatusOr<MappedMemory> MappedMemory::Map(const v1::Granted& granted,
                                               const SocketDirectory& socket_dir,
                                               absl::Time deadline) {
  MappedMemory memory;
  if (granted.device() == kHostDevice) {
    RETURN_IF_ERROR(memory.MapHost(granted, socket_dir, deadline));
  } else {
    RETURN_IF_ERROR(memory.MapCuda(granted));
  }
  return memory;
}

absl::Status MappedMemory::MapHost(const v1::Granted& granted, const SocketDirectory& socket_dir,
                                   absl::Time deadline) {
  if (granted.allocations().empty()) return absl::OkStatus();
  for (int i = 0; i < granted.allocations_size(); ++i) {
    if (!granted.allocations(i).has_fd_index()) {
      return WrongHandle(i, kHostDevice, "a descriptor");
    }
  }
  ASSIGN_OR_RETURN(std::vector<UniqueFd> fds,
                   FetchDescriptors(socket_dir, granted.fd_ticket(),
                                    static_cast<size_t>(granted.allocations_size()), deadline));
  absl::Status mapped = MapAll(granted, fds);
  if (mapped.ok()) {
    for (const v1::Allocation& allocation : granted.allocations()) {
      fds[allocation.fd_index()].reset();
    }
    std::erase_if(fds, [](const UniqueFd& fd) { return !fd.valid(); });
  }
  // What was not mapped may be anything of the server's, and hang when it is closed.
  if (!fds.empty()) CloseElsewhere(std::move(fds));
  return mapped;
}

absl::Status MappedMemory::MapAll(const v1::Granted& granted, const std::vector<UniqueFd>& fds) {
  for (const v1::Allocation& allocation : granted.allocations()) {
    if (allocation.fd_index() >= fds.size()) {
      return absl::InternalError(absl::StrCat("grant from weightd: descriptor ",
                                              allocation.fd_index(), " of ", fds.size()));
    }
    ASSIGN_OR_RETURN(HostMapping mapping,
                     HostMapping::Map(fds[allocation.fd_index()], allocation.bytes()));
    bases_.push_back(mapping.base());
    host_.push_back(std::move(mapping));
  }
  return absl::OkStatus();
}

absl::Status MappedMemory::MapCuda(const v1::Granted& granted) {
  std::vector<std::string> handles;
  for (int i = 0; i < granted.allocations_size(); ++i) {
    const v1::Allocation& allocation = granted.allocations(i);
    if (!allocation.has_cuda_ipc_handle()) {
      return WrongHandle(i, granted.device(), "a CUDA IPC handle");
    }
    handles.push_back(allocation.cuda_ipc_handle());
  }
  ASSIGN_OR_RETURN(cuda_, CudaMapping::Open(granted.device(), handles));
  bases_.assign(cuda_->bases().begin(), cuda_->bases().end());
  return absl::OkStatus();
}

}  // namespace weightd::client
