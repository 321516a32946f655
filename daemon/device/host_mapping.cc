#include "daemon/device/host_mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "daemon/device/host_memory.h"

namespace weightd {

absl::StatusOr<HostMapping> HostMapping::Reserve(uint64_t bytes) {
  const uint64_t wanted = bytes + kHugePageBytes;
  void* address =
      ::mmap(nullptr, wanted, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    return PosixError(errno, absl::StrCat("reserve ", wanted, " bytes of addresses"));
  }
  auto* const start = static_cast<std::byte*>(address);
  const auto number = reinterpret_cast<uintptr_t>(address);
  const uint64_t before = AlignUp(number, kHugePageBytes) - number;
  const uint64_t behind = wanted - before - bytes;
  std::byte* const base = start + before;
  // munmap fails only for arguments that are no pages.
  if (before > 0) ::munmap(start, before);
  if (behind > 0) ::munmap(base + bytes, behind);
  return HostMapping(base, bytes);
}

HostMapping::HostMapping(HostMapping&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      shared_(other.shared_) {}

HostMapping& HostMapping::operator=(HostMapping&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  std::swap(shared_, other.shared_);
  return *this;
}

HostMapping::~HostMapping() {
  if (base_ != nullptr) ::munmap(base_, bytes_);
}

int HostMapping::Map(int protection, int flags, int fd) {
  if (::mmap(base_, bytes_, protection, flags | MAP_FIXED, fd, 0) == MAP_FAILED) return errno;
  shared_ = (flags & MAP_SHARED) != 0;
  return 0;
}

absl::Status HostMapping::MapWritable(int fd) {
  const int error = Map(PROT_READ | PROT_WRITE, MAP_SHARED, fd);
  if (error == 0) return absl::OkStatus();
  return PosixError(error, absl::StrCat("map ", bytes_, " bytes of a memfd"));
}

absl::Status HostMapping::MapReadOnly(int fd) {
  int error = Map(PROT_READ, MAP_SHARED, fd);
  if (error == EPERM) error = Map(PROT_READ, MAP_PRIVATE, fd);
  if (error == 0) return absl::OkStatus();
  return PosixError(error, absl::StrCat("map ", bytes_, " bytes of a sealed memfd"));
}

absl::Status HostMapping::Clear() {
  const int error = Map(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (error == 0) return absl::OkStatus();
  return PosixError(error, absl::StrCat("unmap ", bytes_, " bytes of a memfd"));
}

}  // namespace weightd
