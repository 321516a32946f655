#ifndef WEIGHTD_DAEMON_DEVICE_CUDA_ALLOCATION_H_
#define WEIGHTD_DAEMON_DEVICE_CUDA_ALLOCATION_H_

#include "daemon/device/cuda_context.h"

#if WEIGHTD_HAVE_CUDA

#include <memory>

#include "daemon/device/device.h"

namespace weightd {

// One cuMemAlloc, freed on destruction. Thread-compatible.
//
// A multiple of 2 MiB: the driver exports whole 2 MiB blocks, so that a smaller allocation would
// hand out its neighbours too.
class CudaAllocation final : public Allocation {
 public:
  static constexpr uint64_t kGranularityBytes = uint64_t{2} << 20;

  // `bytes` is a multiple of kGranularityBytes.
  static absl::StatusOr<std::unique_ptr<CudaAllocation>> Create(CudaContext& context,
                                                                uint64_t bytes);
  CudaAllocation(const CudaAllocation&) = delete;
  CudaAllocation& operator=(const CudaAllocation&) = delete;
  ~CudaAllocation() override;

  uint64_t bytes() const override { return bytes_; }
  absl::Span<std::byte> host_memory() override { return {}; }
  absl::Status Seal() override;
  absl::StatusOr<Export> CreateExport() const override;
  uint64_t GiveBackAllBut(absl::Span<const absl::Span<std::byte>> kept) override;
  // Sees the copies that are done: call CopyQueue::Finish() before.
  absl::Status CopyOut(uint64_t offset, absl::Span<std::byte> to) const override;

  const CudaContext& context() const { return context_; }
  CUdeviceptr base() const { return base_; }
  bool sealed() const { return sealed_; }

 private:
  CudaAllocation(CudaContext& context, CUdeviceptr base, uint64_t bytes)
      : context_(context), base_(base), bytes_(bytes) {}
  void Free();

  CudaContext& context_;
  CUdeviceptr base_;  // 0 once it was given back
  const uint64_t bytes_;
  bool sealed_ = false;
};

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA

#endif  // WEIGHTD_DAEMON_DEVICE_CUDA_ALLOCATION_H_
