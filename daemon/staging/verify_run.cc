#include "daemon/staging/verify_run.h"

#include <algorithm>
#include <utility>

#include "common/align.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// What a GPU's memory is copied out through.
constexpr uint64_t kPartBytes = 4 * kMiB;

}  // namespace

VerifyRun::VerifyRun(std::shared_ptr<const Manifest> manifest, std::shared_ptr<const Layout> layout,
                     std::shared_ptr<const TensorDigests> digests)
    : manifest_(std::move(manifest)), layout_(std::move(layout)), digests_(std::move(digests)) {}

absl::StatusOr<absl::Span<const std::byte>> VerifyRun::Read(const Allocation& allocation,
                                                            uint64_t offset, uint64_t bytes) {
  const absl::Span<const std::byte> memory = allocation.sealed_memory();
  if (!memory.empty()) return memory.subspan(offset, bytes);
  buffer_.resize(kPartBytes);
  const auto part = absl::MakeSpan(buffer_).first(bytes);
  RETURN_IF_ERROR(allocation.CopyOut(offset, part));
  return part;
}

absl::Status VerifyRun::Step(const Allocation& allocation, uint64_t bytes_max) {
  const uint64_t end = bytes_done_ + bytes_max;
  while (!done() && bytes_done_ < end) {
    const uint64_t bytes = manifest_->tensors[next_tensor_].bytes;
    if (!hasher_.has_value()) hasher_.emplace(VerifyMode::kFast, nullptr, bytes);
    const uint64_t part = std::min(kPartBytes, bytes - offset_);
    if (part > 0) {
      ASSIGN_OR_RETURN(const absl::Span<const std::byte> read,
                       Read(allocation, layout_->tensor_offsets[next_tensor_] + offset_, part));
      hasher_->Update(read);
    }
    offset_ += part;
    bytes_done_ += part;
    if (offset_ < bytes) continue;
    if (hasher_->digest() != (*digests_)[next_tensor_]) different_.push_back(next_tensor_);
    hasher_.reset();
    offset_ = 0;
    ++next_tensor_;
  }
  return absl::OkStatus();
}

}  // namespace weightd
