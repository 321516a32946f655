#include "daemon/device/cuda_allocation.h"

#if WEIGHTD_HAVE_CUDA

#include <string>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/status_macros.h"
#include "daemon/device/copy_range.h"

namespace weightd {
namespace {

absl::Status AllocationFailed(const CudaContext& context, const absl::Status& status,
                              uint64_t wanted) {
  const auto memory = context.QueryMemory();
  if (!memory.ok()) return status;
  return ErrorWithReason(
      status.code(), Reason::kDeviceFailed,
      absl::StrCat(status.message(), "; ", FormatBytes(memory->free_bytes), " of ",
                   FormatBytes(memory->total_bytes), " are free"),
      {{"wantedBytes", absl::StrCat(wanted)}, {"freeBytes", absl::StrCat(memory->free_bytes)}});
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaAllocation>> CudaAllocation::Create(CudaContext& context,
                                                                       uint64_t bytes) {
  const CudaDriver& driver = context.driver();
  CUdeviceptr base = 0;
  absl::Status status;
  {
    ASSIGN_OR_RETURN(const ScopedCudaContext current, context.Enter());
    status = driver.ToStatus(driver.cuMemAlloc(&base, bytes),
                             absl::StrCat("allocate ", FormatBytes(bytes), " on ", context.uuid()));
  }
  if (!status.ok()) {
    (void)context.errors().Count(ErrorCounts::Operation::kAllocate, status);
    return AllocationFailed(context, status, bytes);
  }
  return std::unique_ptr<CudaAllocation>(new CudaAllocation(context, base, bytes));
}

CudaAllocation::~CudaAllocation() {
  if (base_ != 0) Free();
}

uint64_t CudaAllocation::GiveBackAllBut(absl::Span<const absl::Span<std::byte>> kept) {
  if (sealed_ || !kept.empty()) return bytes_;
  if (base_ != 0) Free();
  base_ = 0;
  return 0;
}

void CudaAllocation::Free() {
  const CudaDriver& driver = context_.driver();
  absl::Status status;
  if (const auto current = context_.Enter(); current.ok()) {
    status =
        driver.ToStatus(driver.cuMemFree(base_), absl::StrCat("free memory on ", context_.uuid()));
  } else {
    status = current.status();
  }
  if (!status.ok()) {
    (void)context_.errors().Count(ErrorCounts::Operation::kFree, status);
    context_.warnings().Add(
        WarningReason::kMemoryLost,
        absl::StrCat(FormatBytes(bytes_),
                     " are lost until the daemon restarts: ", status.message()));
  }
}

absl::Status CudaAllocation::Seal() {
  if (sealed_) return absl::FailedPreconditionError("seal allocation: already sealed");
  sealed_ = true;
  return absl::OkStatus();
}

absl::StatusOr<Export> CudaAllocation::CreateExport() const {
  if (!sealed_) return absl::FailedPreconditionError("export allocation: not sealed yet");
  const CudaDriver& driver = context_.driver();
  ASSIGN_OR_RETURN(const ScopedCudaContext current, context_.Enter());
  CUipcMemHandle handle{};
  RETURN_IF_ERROR(
      context_.errors().Count(ErrorCounts::Operation::kExport,
                              driver.ToStatus(driver.cuIpcGetMemHandle(&handle, base_),
                                              absl::StrCat("export memory of ", context_.uuid()))));
  Export result;
  result.cuda_ipc_handle.assign(handle.reserved, sizeof(handle.reserved));
  return result;
}

absl::Status CudaAllocation::CopyOut(uint64_t offset, absl::Span<std::byte> to) const {
  RETURN_IF_ERROR(CheckRange("copy out of allocation", offset, to.size(), bytes_));
  if (to.empty()) return absl::OkStatus();
  const CudaDriver& driver = context_.driver();
  ASSIGN_OR_RETURN(const ScopedCudaContext current, context_.Enter());
  return context_.errors().Count(
      ErrorCounts::Operation::kRead,
      driver.ToStatus(driver.cuMemcpyDtoH(to.data(), base_ + offset, to.size()),
                      absl::StrCat("copy ", to.size(), " bytes from ", context_.uuid())));
}

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA
