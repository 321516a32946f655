#ifndef WEIGHTD_DAEMON_STAGING_STAGING_POOL_H_
#define WEIGHTD_DAEMON_STAGING_STAGING_POOL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "daemon/device/device.h"

// The staging buffers between disk and one device: one region of huge pages, made and touched once,
// cut into slots that begin on 2 MiB boundaries (a fixed-buffer read inside a registered buffer
// failed on one kernel otherwise). Transfers take slots and give them back, each up to its share.
//
// A slot whose read is stuck is nobody's until the read returns. So that volumes that hang leave
// some to the others, all transfers of one volume together never have more than five sixths of what
// others have not stuck; and a volume that finds all taken by others has two slots of its own, of
// memory that is made for it and goes with its last transfer. Thread-safe after creation.

namespace weightd {

// What the pages mostly are. Best first; "hugetlb", "transparent", "small".
enum class PageKind { kHugetlb, kTransparent, kSmall };
absl::string_view PageKindName(PageKind kind);

class StagingPool {
 public:
  // `slot_bytes` is a multiple of 2 MiB. All memory is registered with `devices`, which outlive the
  // pool. The pages come from the memory of `numa_node` while that has some; -1 for any.
  // RESOURCE_EXHAUSTED when there is no memory.
  static absl::StatusOr<std::unique_ptr<StagingPool>> Create(uint32_t slot_count,
                                                             uint64_t slot_bytes,
                                                             const std::vector<Device*>& devices,
                                                             int numa_node = -1);
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;
  ~StagingPool();

  // Of the slots that are made at the start.
  absl::Span<std::byte> memory() const { return memory_; }
  uint32_t slot_count() const { return slot_count_; }
  std::vector<absl::Span<std::byte>> slots() const;
  uint64_t slot_bytes() const { return slot_bytes_; }
  PageKind page_kind() const { return page_kind_; }

  // Whoever takes slots for a volume, or for volumes that are read together, joins first and leaves
  // at its end; slots that it still has then keep their place. Who reads none joins with none.
  struct Holder;
  Holder* Join(const std::set<uint64_t>& volumes) ABSL_LOCKS_EXCLUDED(mu_);
  void Leave(Holder* holder) ABSL_LOCKS_EXCLUDED(mu_);
  // How many slots each of those who joined may have: at least one.
  uint32_t share(const Holder* holder) const ABSL_LOCKS_EXCLUDED(mu_);
  // A slot that is free; none when all are taken, or the holder has its most.
  std::optional<uint32_t> TakeSlot(Holder* holder) ABSL_LOCKS_EXCLUDED(mu_);
  void GiveSlot(uint32_t slot) ABSL_LOCKS_EXCLUDED(mu_);
  // Of a slot that is taken: its memory, and whether it is one of slots().
  absl::Span<std::byte> slot(uint32_t index) const;
  bool IsShared(uint32_t slot) const { return slot < slot_count_; }
  // Of a slot that is taken: a read into it does not come back.
  void MarkStuck(uint32_t slot) ABSL_LOCKS_EXCLUDED(mu_);
  // Likewise of all that these volumes have.
  void MarkAllStuck(const std::set<uint64_t>& volumes) ABSL_LOCKS_EXCLUDED(mu_);
  uint32_t stuck_slots() const ABSL_LOCKS_EXCLUDED(mu_);
  // OK while the holder may get a slot, be it later. UNAVAILABLE/VOLUME_STUCK when it can only once
  // stuck reads return.
  absl::Status CheckNotAllStuck(const Holder* holder) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // How a slot is that somebody has.
  struct Taken {
    Holder* holder = nullptr;  // none: it is free
    bool is_stuck = false;
  };

  StagingPool(absl::Span<std::byte> mapping, absl::Span<std::byte> memory, uint32_t slot_count,
              uint64_t slot_bytes, std::vector<Device*> devices, PageKind kind);
  // With all devices, or with none.
  absl::Status Register(absl::Span<std::byte> memory) const;
  void UnregisterAndUnmap(absl::Span<const absl::Span<std::byte>> all) const;
  // Of the slots that are made at the start, those that are stuck; `but` of one holder.
  uint32_t CountSharedStuck(const Holder* but = nullptr) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Of the slots that are made at the start, how many the holder may have at once.
  uint32_t MostOf(const Holder& holder) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  std::optional<uint32_t> TakeShared(Holder& holder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // One of the holder's own, which may have no memory yet.
  std::optional<uint32_t> TakeOwn(Holder& holder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Makes memory for a slot that is taken and has none; false when there is none.
  bool HasMemory(uint32_t slot);
  void SetStuck(uint32_t slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Of a holder that nobody joins any more: the memory of its idle slots, which the caller unmaps
  // once it holds no lock. Without slots the holder goes.
  std::vector<absl::Span<std::byte>> TakeIdle(Holder& holder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::Span<std::byte> mapping_;  // what munmap gets: memory_ and what aligns it
  absl::Span<std::byte> memory_;
  uint32_t slot_count_;
  uint64_t slot_bytes_;
  const std::vector<Device*> devices_;
  PageKind page_kind_;
  // Of the holders' own slots, which have the numbers from slot_count_ on: whoever has one may look
  // at its memory without the lock.
  std::vector<absl::Span<std::byte>> own_memory_;

  mutable absl::Mutex mu_;
  std::map<std::set<uint64_t>, std::unique_ptr<Holder>> holders_ ABSL_GUARDED_BY(mu_);
  std::vector<Taken> taken_ ABSL_GUARDED_BY(mu_);          // by number
  std::vector<uint32_t> free_slots_ ABSL_GUARDED_BY(mu_);  // of those made at the start
  std::vector<uint32_t> free_own_ ABSL_GUARDED_BY(mu_);    // the others, of no holder
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_STAGING_POOL_H_
