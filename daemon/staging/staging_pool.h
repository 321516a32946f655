#ifndef WEIGHTD_DAEMON_STAGING_STAGING_POOL_H_
#define WEIGHTD_DAEMON_STAGING_STAGING_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// The staging buffers between disk and GPU: one region of huge pages, made and touched once, cut
// into slots that begin on 2 MiB boundaries (a fixed-buffer read inside a registered buffer failed
// on one kernel otherwise). Thread-safe after creation.

namespace weightd {

// Best first; "hugetlb", "transparent", "small".
enum class PageKind { kHugetlb, kTransparent, kSmall };
absl::string_view PageKindName(PageKind kind);

class StagingPool {
 public:
  // `slot_bytes` is a multiple of 2 MiB. RESOURCE_EXHAUSTED when there is no memory.
  static absl::StatusOr<std::unique_ptr<StagingPool>> Create(uint32_t slot_count,
                                                             uint64_t slot_bytes);
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;
  ~StagingPool();

  absl::Span<std::byte> memory() const { return memory_; }
  uint32_t slot_count() const { return slot_count_; }
  uint64_t slot_bytes() const { return slot_bytes_; }
  absl::Span<std::byte> slot(uint32_t index) const {
    return memory_.subspan(index * slot_bytes_, slot_bytes_);
  }
  std::vector<absl::Span<std::byte>> slots() const;
  PageKind page_kind() const { return page_kind_; }

 private:
  StagingPool(absl::Span<std::byte> mapping, absl::Span<std::byte> memory, uint32_t slot_count,
              uint64_t slot_bytes, PageKind kind)
      : mapping_(mapping),
        memory_(memory),
        slot_count_(slot_count),
        slot_bytes_(slot_bytes),
        page_kind_(kind) {}

  absl::Span<std::byte> mapping_;  // what munmap gets: memory_ and what aligns it
  absl::Span<std::byte> memory_;
  uint32_t slot_count_;
  uint64_t slot_bytes_;
  PageKind page_kind_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_STAGING_POOL_H_
