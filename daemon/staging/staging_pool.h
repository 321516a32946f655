#ifndef WEIGHTD_DAEMON_STAGING_STAGING_POOL_H_
#define WEIGHTD_DAEMON_STAGING_STAGING_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

// The staging buffers between disk and one device: one region of huge pages, made and touched once,
// cut into slots that begin on 2 MiB boundaries (a fixed-buffer read inside a registered buffer
// failed on one kernel otherwise). Transfers take slots and give them back, each up to its share.
//
// A slot whose read is stuck is nobody's until the read returns. So that a volume that hangs leaves
// some to the others, all transfers of one volume together never have more than five sixths of what
// others have not stuck. Thread-safe after creation.

namespace weightd {

// What the pages mostly are. Best first; "hugetlb", "transparent", "small".
enum class PageKind { kHugetlb, kTransparent, kSmall };
absl::string_view PageKindName(PageKind kind);

class StagingPool {
 public:
  // `slot_bytes` is a multiple of 2 MiB. The pages come from the memory of `numa_node` while that
  // has some; -1 for any. RESOURCE_EXHAUSTED when there is no memory.
  static absl::StatusOr<std::unique_ptr<StagingPool>> Create(uint32_t slot_count,
                                                             uint64_t slot_bytes,
                                                             int numa_node = -1);
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

  // Who takes slots says so first: then each may have an equal share of them, at least one.
  void AddUser() ABSL_LOCKS_EXCLUDED(mu_);
  void RemoveUser() ABSL_LOCKS_EXCLUDED(mu_);
  uint32_t share() const ABSL_LOCKS_EXCLUDED(mu_);
  // A slot that is free; none when all are taken, or `volume` has its most. Who is no volume's
  // reader names none.
  std::optional<uint32_t> TakeSlot(const void* volume = nullptr) ABSL_LOCKS_EXCLUDED(mu_);
  void GiveSlot(uint32_t slot) ABSL_LOCKS_EXCLUDED(mu_);
  // Of a slot that is taken: a read into it does not come back.
  void MarkStuck(uint32_t slot) ABSL_LOCKS_EXCLUDED(mu_);
  uint32_t stuck_slots() const ABSL_LOCKS_EXCLUDED(mu_);
  // OK while `volume` may get a slot, be it later. UNAVAILABLE/VOLUME_STUCK when it can only once
  // stuck reads return.
  absl::Status CheckNotAllStuck(const void* volume = nullptr) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  StagingPool(absl::Span<std::byte> mapping, absl::Span<std::byte> memory, uint32_t slot_count,
              uint64_t slot_bytes, PageKind kind)
      : mapping_(mapping),
        memory_(memory),
        slot_count_(slot_count),
        slot_bytes_(slot_bytes),
        page_kind_(kind),
        taken_(slot_count) {
    for (uint32_t i = slot_count; i > 0; --i) free_slots_.push_back(i - 1);
  }

  absl::Span<std::byte> mapping_;  // what munmap gets: memory_ and what aligns it
  absl::Span<std::byte> memory_;
  uint32_t slot_count_;
  uint64_t slot_bytes_;
  PageKind page_kind_;

  // How a slot is that somebody has.
  struct Taken {
    bool is_taken = false;
    bool is_stuck = false;
    const void* volume = nullptr;
  };
  uint32_t CountStuck(const void* volume, bool others) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Slots that `volume` may have at once.
  uint32_t MostOf(const void* volume) const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  std::vector<Taken> taken_ ABSL_GUARDED_BY(mu_);
  std::vector<uint32_t> free_slots_ ABSL_GUARDED_BY(mu_);
  uint32_t user_count_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_STAGING_POOL_H_
