#include "daemon/device/pinned_ranges.h"

#if WEIGHTD_HAVE_CUDA

#include "absl/strings/str_cat.h"
#include "common/format_units.h"
#include "common/status_macros.h"

namespace weightd {

absl::Status PinnedRanges::Add(CudaContext& context, absl::Span<std::byte> memory) {
  absl::MutexLock lock(&mu_);
  const Range range(memory.data(), memory.size());
  if (const auto known = users_.find(range); known != users_.end()) {
    ++known->second;
    return absl::OkStatus();
  }
  const CudaDriver& driver = context.driver();
  ASSIGN_OR_RETURN(const ScopedCudaContext current, context.Enter());
  // Portable: pinned for every context of the process.
  RETURN_IF_ERROR(driver.ToStatus(
      driver.cuMemHostRegister(memory.data(), memory.size(), CU_MEMHOSTREGISTER_PORTABLE),
      absl::StrCat("pin ", FormatBytes(memory.size()), " of staging memory for ", context.uuid())));
  users_.emplace(range, 1);
  return absl::OkStatus();
}

void PinnedRanges::Remove(CudaContext& context, absl::Span<std::byte> memory) {
  absl::MutexLock lock(&mu_);
  const auto known = users_.find(Range(memory.data(), memory.size()));
  if (known == users_.end()) {
    context.warnings().Add("staging memory was unregistered that had not been registered");
    return;
  }
  if (--known->second > 0) return;
  users_.erase(known);
  const auto current = context.Enter();
  const CudaDriver& driver = context.driver();
  const absl::Status status =
      current.ok() ? driver.ToStatus(driver.cuMemHostUnregister(memory.data()), "unpin")
                   : current.status();
  if (!status.ok()) {
    context.warnings().Add(absl::StrCat(FormatBytes(memory.size()),
                                        " of staging memory stay pinned: ", status.message()));
  }
}

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA
