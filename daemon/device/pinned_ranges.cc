#include "daemon/device/pinned_ranges.h"

#if WEIGHTD_HAVE_CUDA

#include "absl/strings/str_cat.h"
#include "common/format_units.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// The driver's functions name memory that they do not write by a pointer to what may be written.
void* Address(absl::Span<const std::byte> memory) { return const_cast<std::byte*>(memory.data()); }

}  // namespace

absl::Status PinnedRanges::Add(CudaContext& context, absl::Span<const std::byte> memory,
                               Access access) {
  absl::MutexLock lock(&mu_);
  const Range range(memory.data(), memory.size());
  if (const auto known = users_.find(range); known != users_.end()) {
    ++known->second;
    return absl::OkStatus();
  }
  const CudaDriver& driver = context.driver();
  ASSIGN_OR_RETURN(const ScopedCudaContext current, context.Enter());
  // Portable: pinned for every context of the process.
  unsigned flags = CU_MEMHOSTREGISTER_PORTABLE;
  if (access == Access::kReadOnly) flags |= CU_MEMHOSTREGISTER_READ_ONLY;
  RETURN_IF_ERROR(driver.ToStatus(
      driver.cuMemHostRegister(Address(memory), memory.size(), flags),
      absl::StrCat("pin ", FormatBytes(memory.size()), " of host memory for ", context.uuid())));
  users_.emplace(range, 1);
  return absl::OkStatus();
}

void PinnedRanges::Remove(CudaContext& context, absl::Span<const std::byte> memory) {
  absl::MutexLock lock(&mu_);
  const auto known = users_.find(Range(memory.data(), memory.size()));
  if (known == users_.end()) {
    context.warnings().Add(WarningReason::kInternal,
                           "host memory was unregistered that had not been registered");
    return;
  }
  if (--known->second > 0) return;
  users_.erase(known);
  const auto current = context.Enter();
  const CudaDriver& driver = context.driver();
  const absl::Status status =
      current.ok() ? driver.ToStatus(driver.cuMemHostUnregister(Address(memory)), "unpin")
                   : current.status();
  if (!status.ok()) {
    context.warnings().Add(WarningReason::kMemoryStaysPinned,
                           absl::StrCat(FormatBytes(memory.size()),
                                        " of host memory stay pinned: ", status.message()));
  }
}

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA
