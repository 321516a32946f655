#include "daemon/device/host_allocation.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/device/copy_range.h"

namespace weightd {
namespace {

// A direct write that is just ending keeps a page busy for a moment.
constexpr int kSealAttemptsMax = 50;
constexpr absl::Duration kSealRetryDelay = absl::Milliseconds(2);

// Of the largest pages that a memfd may have here.
constexpr uint64_t kPageBytes = 2 * kMiB;

bool PunchHole(int fd, uint64_t begin, uint64_t end) {
  return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                     static_cast<off_t>(end - begin)) == 0;
}

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

uint64_t HostAllocation::GiveBackAllBut(absl::Span<const absl::Span<std::byte>> kept) {
  if (sealed_ || !mapped_) return bytes();
  pages_->Stop();
  const absl::Span<std::byte> memory = mapping_.memory();
  std::map<uint64_t, uint64_t> parts;  // begin -> end
  for (const absl::Span<std::byte> part : kept) {
    const auto begin = static_cast<uint64_t>(part.data() - memory.data());
    uint64_t& end = parts[AlignDown(begin, kPageBytes)];
    end = std::max(end, std::min<uint64_t>(AlignUp(begin + part.size(), kPageBytes), bytes()));
  }
  parts.emplace(bytes(), bytes());
  uint64_t given = 0;
  uint64_t end_of_kept = 0;
  for (const auto& [begin, end] : parts) {
    if (begin > end_of_kept && !PunchHole(fd_.get(), end_of_kept, begin)) return bytes() - given;
    if (begin > end_of_kept) given += begin - end_of_kept;
    end_of_kept = std::max(end_of_kept, end);
  }
  return bytes() - given;
}

absl::Status HostAllocation::CopyOut(uint64_t offset, absl::Span<std::byte> to) const {
  RETURN_IF_ERROR(CheckRange("copy out of allocation", offset, to.size(), bytes()));
  if (!mapped_) return absl::FailedPreconditionError("copy out of allocation: its seal failed");
  if (!to.empty()) std::memcpy(to.data(), mapping_.memory().data() + offset, to.size());
  return absl::OkStatus();
}

}  // namespace weightd
