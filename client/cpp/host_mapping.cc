#include "client/cpp/host_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cpp/daemon_connection.h"
#include "common/detached_closer.h"
#include "common/errors.h"
#include "common/handle_protocol.h"
#include "common/status_macros.h"

namespace weightd::client {
namespace {

absl::Status BadDescriptor(absl::string_view problem) {
  return absl::InternalError(absl::StrCat("descriptor from weightd: ", problem));
}

absl::Status CheckSeals(int fd) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return BadDescriptor("not a memfd");
  if ((seals & F_SEAL_SHRINK) == 0 || (seals & F_SEAL_GROW) == 0) {
    return BadDescriptor("not sealed against resizing");
  }
  if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) == 0) {
    return BadDescriptor("not sealed against writing");
  }
  return absl::OkStatus();
}

absl::Status CheckSize(int fd, uint64_t bytes) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return PosixError(errno, "descriptor from weightd: fstat");
  if (info.st_size < 0 || static_cast<uint64_t>(info.st_size) < bytes) {
    return BadDescriptor(absl::StrCat("has ", info.st_size, " bytes, announced were ", bytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HostMapping> HostMapping::Map(const UniqueFd& memory, uint64_t bytes) {
  RETURN_IF_ERROR(CheckSeals(memory.get()));
  RETURN_IF_ERROR(CheckSize(memory.get(), bytes));
  if (bytes == 0) return HostMapping(nullptr, 0);
  void* base = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, memory.get(), 0);
  if (base == MAP_FAILED && errno == EPERM) {
    // Before Linux 6.7 a memfd under F_SEAL_WRITE that was opened for writing cannot be mapped
    // shared, not even for reading. A private mapping that is never written has the same pages.
    base = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, memory.get(), 0);
  }
  if (base == MAP_FAILED) {
    return PosixError(errno, absl::StrCat("map ", bytes, " bytes of host memory"));
  }
  return HostMapping(static_cast<std::byte*>(base), bytes);
}

HostMapping::HostMapping(HostMapping&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

HostMapping::~HostMapping() {
  if (base_ != nullptr) ::munmap(base_, bytes_);
}

absl::StatusOr<std::vector<UniqueFd>> FetchDescriptors(const SocketDirectory& socket_dir,
                                                       absl::string_view ticket, size_t count,
                                                       absl::Time deadline) {
  if (ticket.size() != kTicketBytes) {
    return absl::InternalError(absl::StrCat("grant from weightd: ticket of ", ticket.size(),
                                            " bytes, expected ", kTicketBytes));
  }
  const HandleRequest request{.kind = HandleRequest::Kind::kTicket, .ticket = std::string(ticket)};
  absl::StatusOr<std::vector<UniqueFd>> fds = AskHandleSocket(socket_dir, request, count, deadline);
  if (!fds.ok()) return Annotate(fds.status(), "fetch descriptors from weightd");
  return fds;
}

void CloseElsewhere(std::vector<UniqueFd> fds) {
  static auto* const closer = new DetachedCloser();  // its threads may outlive everything
  closer->Close(std::move(fds), /*uid=*/0);
}

}  // namespace weightd::client
