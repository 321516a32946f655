#ifndef WEIGHTD_DAEMON_STAGING_VERIFY_RUN_H_
#define WEIGHTD_DAEMON_STAGING_VERIFY_RUN_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "daemon/device/device.h"
#include "daemon/format/manifest.h"
#include "daemon/format/tensor_hasher.h"
#include "daemon/staging/layout.h"

namespace weightd {

using TensorDigests = std::vector<TensorDigest>;  // like a manifest's tensors

// Whether an allocation still holds what was put there: every tensor is read again, a GPU's through
// a buffer, and digested. It goes in steps, between which nobody has to hold the allocation.
// Thread-compatible.
class VerifyRun {
 public:
  VerifyRun(std::shared_ptr<const Manifest> manifest, std::shared_ptr<const Layout> layout,
            std::shared_ptr<const TensorDigests> digests);

  // Goes on for at most about `bytes_max`. The allocation is sealed, and the same each time. The
  // device's errors.
  absl::Status Step(const Allocation& allocation, uint64_t bytes_max);
  bool done() const { return next_tensor_ == manifest_->tensors.size(); }

  uint64_t tensors_done() const { return next_tensor_; }
  uint64_t bytes_done() const { return bytes_done_; }
  // Tensors whose bytes are not what they were.
  const std::vector<size_t>& different() const { return different_; }

 private:
  absl::StatusOr<absl::Span<const std::byte>> Read(const Allocation& allocation, uint64_t offset,
                                                   uint64_t bytes);

  const std::shared_ptr<const Manifest> manifest_;
  const std::shared_ptr<const Layout> layout_;
  const std::shared_ptr<const TensorDigests> digests_;
  std::vector<std::byte> buffer_;
  size_t next_tensor_ = 0;
  uint64_t offset_ = 0;  // in that tensor
  std::optional<TensorHasher> hasher_;
  uint64_t bytes_done_ = 0;
  std::vector<size_t> different_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_VERIFY_RUN_H_
