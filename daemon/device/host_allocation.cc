#include "daemon/device/host_allocation.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/device/copy_range.h"

namespace weightd {
namespace {

// A direct write that is just ending keeps a page busy for a moment.
constexpr int kSealAttemptsMax = 50;
constexpr absl::Duration kSealRetryDelay = absl::Milliseconds(2);

// The same file, opened for reading alone. None without /proc.
UniqueFd ReopenReadOnly(int fd) {
  return UniqueFd(::open(absl::StrCat("/proc/self/fd/", fd).c_str(), O_RDONLY | O_CLOEXEC));
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostAllocation>> HostAllocation::Create(uint64_t bytes,
                                                                       HostPages pages,
                                                                       UnmadeBytes unmade) {
  unsigned flags = MFD_ALLOW_SEALING | MFD_CLOEXEC;
  if (pages == HostPages::kHugetlb) flags |= MFD_HUGETLB | MFD_HUGE_2MB;
  UniqueFd fd(::memfd_create("weightd", flags));
  if (!fd.valid()) return PosixError(errno, "create memfd");
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return PosixError(errno, absl::StrCat("size memfd to ", bytes, " bytes"));
  }
  ASSIGN_OR_RETURN(HostMapping mapping, HostMapping::Reserve(bytes));
  RETURN_IF_ERROR(mapping.MapWritable(fd.get()));
  const absl::Span<std::byte> memory = mapping.memory();
  if (pages == HostPages::kTransparentHuge) {
    // A hint: refused, the pages are small and nothing else changes.
    (void)::madvise(memory.data(), memory.size(), MADV_HUGEPAGE);
  }
  auto pages_made = std::make_unique<PageMaker>(fd.get(), memory, std::move(unmade));
  return std::unique_ptr<HostAllocation>(
      new HostAllocation(std::move(fd), std::move(mapping), std::move(pages_made)));
}

absl::Span<std::byte> HostAllocation::host_memory() {
  return sealed_ || !mapped_ ? absl::Span<std::byte>() : mapping_.memory();
}

absl::Status HostAllocation::AddSeals() {
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  for (int attempt = 1;; ++attempt) {
    if (::fcntl(fd_.get(), F_ADD_SEALS, kSeals) == 0) return absl::OkStatus();
    const int error = errno;
    if (error != EBUSY) return PosixError(error, "seal memfd");
    if (attempt == kSealAttemptsMax) {
      return absl::FailedPreconditionError(
          "seal memfd: its pages are still mapped for writing or pinned by a read; finish the "
          "reads and unregister their buffers first");
    }
    absl::SleepFor(kSealRetryDelay);
  }
}

absl::Status HostAllocation::Seal() {
  if (sealed_) return absl::FailedPreconditionError("seal allocation: already sealed");
  RETURN_IF_ERROR(pages_->Finish());
  RETURN_IF_ERROR(mapping_.Clear());
  mapped_ = false;
  if (absl::Status status = AddSeals(); !status.ok()) {
    // Still writable, as before.
    RETURN_IF_ERROR(mapping_.MapWritable(fd_.get()));
    mapped_ = true;
    return status;
  }
  sealed_ = true;
  // Through a descriptor that cannot write, every kernel maps it shared, a client's too.
  if (UniqueFd read_only = ReopenReadOnly(fd_.get()); read_only.valid()) fd_ = std::move(read_only);
  RETURN_IF_ERROR(mapping_.MapReadOnly(fd_.get()));
  mapped_ = true;
  return absl::OkStatus();
}

absl::StatusOr<Export> HostAllocation::CreateExport() const {
  if (!sealed_) return absl::FailedPreconditionError("export allocation: not sealed yet");
  Export result;
  result.fd = UniqueFd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!result.fd.valid()) return PosixError(errno, "export allocation");
  return result;
}

absl::Span<const std::byte> HostAllocation::sealed_memory() const {
  if (!sealed_ || !mapped_ || !mapping_.shared()) return {};
  return mapping_.memory();
}

absl::Status HostAllocation::CopyOut(uint64_t offset, absl::Span<std::byte> to) const {
  RETURN_IF_ERROR(CheckRange("copy out of allocation", offset, to.size(), bytes()));
  if (!mapped_) return absl::FailedPreconditionError("copy out of allocation: its seal failed");
  if (!to.empty()) std::memcpy(to.data(), mapping_.memory().data() + offset, to.size());
  return absl::OkStatus();
}

}  // namespace weightd
