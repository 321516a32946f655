#include "daemon/device/pinned_allocation.h"

#include <utility>
#include <vector>

#include "common/errors.h"

namespace weightd {
namespace {

class PinnedAllocation final : public Allocation {
 public:
  explicit PinnedAllocation(std::shared_ptr<Allocation> inner) : inner_(std::move(inner)) {}
  ~PinnedAllocation() override {
    for (Device* gpu : gpus_) gpu->UnregisterSealed(inner_->sealed_memory());
  }

  absl::Status Pin(Device* gpu) {
    absl::Status pinned = gpu->RegisterSealed(inner_->sealed_memory());
    if (pinned.ok()) gpus_.push_back(gpu);
    return pinned;
  }

  uint64_t bytes() const override { return inner_->bytes(); }
  absl::Span<std::byte> host_memory() override { return inner_->host_memory(); }
  absl::StatusOr<uint64_t> ready_bytes() const override { return inner_->ready_bytes(); }
  absl::Status Seal() override { return inner_->Seal(); }
  absl::StatusOr<Export> CreateExport() const override { return inner_->CreateExport(); }
  absl::Span<const std::byte> sealed_memory() const override { return inner_->sealed_memory(); }
  absl::Span<const std::byte> pinned_memory() const override { return inner_->sealed_memory(); }
  absl::Status CopyOut(uint64_t offset, absl::Span<std::byte> to) const override {
    return inner_->CopyOut(offset, to);
  }

 private:
  const std::shared_ptr<Allocation> inner_;
  std::vector<Device*> gpus_;
};

}  // namespace

absl::Status PinForGpus(absl::Span<Device* const> gpus, std::shared_ptr<Allocation>& allocation) {
  if (allocation->sealed_memory().empty()) {
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kDeviceFailed,
                           "pin host memory: it is not sealed, or no shared mapping of it can be "
                           "had (is /proc mounted?)");
  }
  auto pinned = std::make_shared<PinnedAllocation>(allocation);
  for (Device* gpu : gpus) {
    if (absl::Status status = pinned->Pin(gpu); !status.ok()) return status;
  }
  allocation = std::move(pinned);
  return absl::OkStatus();
}

}  // namespace weightd
