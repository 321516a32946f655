#include "tests/bench/null_device.h"

#include <utility>

#include "common/align.h"

namespace weightd::bench {
namespace {

constexpr uint64_t kTotalBytes = uint64_t{1} << 50;

class NullAllocation final : public Allocation {
 public:
  explicit NullAllocation(uint64_t bytes) : bytes_(bytes) {}
  uint64_t bytes() const override { return bytes_; }
  absl::Span<std::byte> host_memory() override { return {}; }
  absl::Status Seal() override { return absl::OkStatus(); }
  absl::StatusOr<Export> CreateExport() const override {
    return absl::UnimplementedError("nothing is there to export");
  }
  absl::Status CopyOut(uint64_t /*offset*/, absl::Span<std::byte> /*to*/) const override {
    return absl::UnimplementedError("nothing is there to copy");
  }

 private:
  const uint64_t bytes_;
};

class NullCopyQueue final : public CopyQueue {
 public:
  absl::Status Submit(const CopyRequest& request) override {
    done_.push_back(request.tag);
    return absl::OkStatus();
  }
  absl::Status Poll(absl::Duration /*timeout*/,
                    absl::FunctionRef<void(uint64_t tag)> done) override {
    // Taken first: `done` may submit again.
    told_.swap(done_);
    for (const uint64_t tag : told_) done(tag);
    told_.clear();
    return absl::OkStatus();
  }
  absl::Status Move(Allocation& /*allocation*/, uint64_t /*from*/, uint64_t /*to*/,
                    uint64_t /*bytes*/) override {
    return absl::OkStatus();
  }
  absl::Status Finish() override {
    done_.clear();
    return absl::OkStatus();
  }
  uint32_t in_flight() const override { return static_cast<uint32_t>(done_.size()); }

 private:
  std::vector<uint64_t> done_;
  std::vector<uint64_t> told_;
};

class NullDevice final : public Device {
 public:
  const DeviceInfo& info() const override { return info_; }
  absl::StatusOr<std::unique_ptr<Allocation>> Allocate(uint64_t bytes) override {
    return std::make_unique<NullAllocation>(AlignUp(bytes, allocation_granularity()));
  }
  uint64_t allocation_granularity() const override { return 2 * kMiB; }
  absl::Status RegisterStaging(absl::Span<std::byte> /*memory*/) override {
    return absl::OkStatus();
  }
  void UnregisterStaging(absl::Span<std::byte> /*memory*/) override {}
  absl::Status RegisterSealed(absl::Span<const std::byte> /*memory*/) override {
    return absl::OkStatus();
  }
  void UnregisterSealed(absl::Span<const std::byte> /*memory*/) override {}
  absl::StatusOr<std::unique_ptr<CopyQueue>> CreateCopyQueue() override {
    return std::make_unique<NullCopyQueue>();
  }

 private:
  const DeviceInfo info_ = {.id = "null",
                            .kind = DeviceKind::kCuda,
                            .name = "nowhere",
                            .total_bytes = kTotalBytes,
                            .free_bytes = kTotalBytes};
};

}  // namespace

std::unique_ptr<Device> CreateNullDevice() { return std::make_unique<NullDevice>(); }

}  // namespace weightd::bench
