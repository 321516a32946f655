#include "daemon/staging/staging_pool.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr uint64_t kHugePageBytes = 2 * kMiB;
// The part of the slots that one volume leaves to others.
constexpr uint32_t kReserveDivisor = 6;
// Slots of its own that each holder may have, and how many holders at once.
constexpr uint32_t kOwnSlots = 2;
constexpr uint32_t kOwnHoldersMax = 32;

absl::Span<std::byte> Map(uint64_t bytes, int flags) {
  void* address =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (address == MAP_FAILED) return {};
  return absl::MakeSpan(static_cast<std::byte*>(address), bytes);
}

// How much of touched memory the kernel has made of transparent huge pages, as smaps (proc(5)) has
// it for the mappings it lies in: to ask for them is never refused, and says nothing.
uint64_t TransparentHugeBytes(absl::Span<const std::byte> memory) {
  const auto begin = reinterpret_cast<uintptr_t>(memory.data());
  std::ifstream file("/proc/self/smaps");
  std::string line;
  uint64_t bytes = 0;
  bool inside = false;
  while (std::getline(file, line)) {
    unsigned long long from = 0;
    unsigned long long to = 0;
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx ", &from, &to) == 2) {
      inside = from < begin + memory.size() && begin < to;
    } else if (inside && std::sscanf(line.c_str(), "AnonHugePages: %llu kB", &kib) == 1) {
      bytes += kib * kKiB;
    }
  }
  return bytes;
}

// Touches every page, so that no fault comes while reading. The kernel may lack
// MADV_POPULATE_WRITE (before 5.14).
void Touch(absl::Span<std::byte> memory) {
#ifdef MADV_POPULATE_WRITE
  if (::madvise(memory.data(), memory.size(), MADV_POPULATE_WRITE) == 0) return;
#endif
  for (uint64_t offset = 0; offset < memory.size(); offset += 4 * kKiB) {
    memory[offset] = std::byte{0};
  }
}

// Asks for pages of one node's memory, before they are touched. Refused (a kernel without nodes, a
// seccomp profile), the pages are where they are, and only slower.
void PreferNode(absl::Span<std::byte> memory, int node) {
  constexpr int kNodesMax = 1024;
  constexpr int kBitsPerWord = 64;
  if (node < 0 || node >= kNodesMax) return;
  std::array<uint64_t, kNodesMax / kBitsPerWord> mask{};
  mask[static_cast<size_t>(node / kBitsPerWord)] = uint64_t{1} << (node % kBitsPerWord);
  // The kernel counts one bit less than it is given.
  (void)::syscall(SYS_mbind, memory.data(), memory.size(), MPOL_PREFERRED, mask.data(),
                  kNodesMax + 1, 0);
}

}  // namespace

absl::string_view PageKindName(PageKind kind) {
  switch (kind) {
    case PageKind::kHugetlb:
      return "hugetlb";
    case PageKind::kTransparent:
      return "transparent";
    case PageKind::kSmall:
      return "small";
  }
  return "unknown";
}

absl::StatusOr<std::unique_ptr<StagingPool>> StagingPool::Create(
    uint32_t slot_count, uint64_t slot_bytes, const std::vector<Device*>& devices, int numa_node) {
  if (slot_count == 0 || slot_bytes == 0 || !IsAligned(slot_bytes, kHugePageBytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("make staging buffers: ", slot_count, " of ", slot_bytes,
                     " bytes; wanted at least one, of a multiple of 2 MiB"));
  }
  const uint64_t bytes = slot_count * slot_bytes;
  PageKind kind = PageKind::kHugetlb;
  absl::Span<std::byte> mapping = Map(bytes, MAP_HUGETLB);
  absl::Span<std::byte> memory = mapping;
  if (mapping.empty()) {
    mapping = Map(bytes + kHugePageBytes, 0);
    if (mapping.empty()) {
      return PosixError(errno, absl::StrCat("make staging buffers of ", FormatBytes(bytes)));
    }
    const uint64_t address = reinterpret_cast<uintptr_t>(mapping.data());
    memory = mapping.subspan(AlignUp(address, kHugePageBytes) - address, bytes);
    kind = PageKind::kSmall;
    (void)::madvise(memory.data(), memory.size(), MADV_HUGEPAGE);
  }
  PreferNode(memory, numa_node);
  Touch(memory);
  if (kind == PageKind::kSmall && TransparentHugeBytes(memory) >= bytes / 2) {
    kind = PageKind::kTransparent;
  }
  // A fork must not make these copy-on-write under a running read.
  (void)::madvise(mapping.data(), mapping.size(), MADV_DONTFORK);
  std::unique_ptr<StagingPool> pool(
      new StagingPool(mapping, memory, slot_count, slot_bytes, devices, kind));
  const absl::Status registered = pool->Register(memory);
  if (!registered.ok()) pool->memory_ = {};
  RETURN_IF_ERROR(registered);
  return pool;
}

struct StagingPool::Holder {
  std::set<uint64_t> volumes;
  uint32_t users = 0;
  uint32_t shared = 0;  // slots taken, stuck ones included
  uint32_t shared_stuck = 0;
  std::vector<uint32_t> own;  // taken or not
  uint32_t own_taken = 0;
  uint32_t own_stuck = 0;
};

StagingPool::StagingPool(absl::Span<std::byte> mapping, absl::Span<std::byte> memory,
                         uint32_t slot_count, uint64_t slot_bytes, std::vector<Device*> devices,
                         PageKind kind)
    : mapping_(mapping),
      memory_(memory),
      slot_count_(slot_count),
      slot_bytes_(slot_bytes),
      devices_(std::move(devices)),
      page_kind_(kind),
      own_memory_(kOwnHoldersMax * kOwnSlots),
      taken_(slot_count + own_memory_.size()) {
  for (uint32_t i = slot_count; i > 0; --i) free_slots_.push_back(i - 1);
  for (auto i = static_cast<uint32_t>(taken_.size()); i > slot_count; --i)
    free_own_.push_back(i - 1);
}

StagingPool::Holder* StagingPool::Join(const std::set<uint64_t>& volumes) {
  absl::MutexLock lock(&mu_);
  std::unique_ptr<Holder>& holder = holders_[volumes];
  if (holder == nullptr) {
    holder = std::make_unique<Holder>();
    holder->volumes = volumes;
  }
  ++holder->users;
  return holder.get();
}

void StagingPool::Leave(Holder* holder) {
  std::vector<absl::Span<std::byte>> idle;
  {
    absl::MutexLock lock(&mu_);
    if (--holder->users == 0) idle = TakeIdle(*holder);
  }
  UnregisterAndUnmap(idle);
}

std::vector<absl::Span<std::byte>> StagingPool::TakeIdle(Holder& holder) {
  std::vector<absl::Span<std::byte>> idle;
  std::erase_if(holder.own, [&](uint32_t slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (taken_[slot].holder != nullptr) return false;
    absl::Span<std::byte> memory = std::exchange(own_memory_[slot - slot_count_], {});
    if (!memory.empty()) idle.push_back(memory);
    free_own_.push_back(slot);
    return true;
  });
  if (holder.shared == 0 && holder.own.empty()) holders_.erase(std::set<uint64_t>(holder.volumes));
  return idle;
}

uint32_t StagingPool::share(const Holder* holder) const {
  absl::MutexLock lock(&mu_);
  const auto active = static_cast<uint32_t>(std::count_if(
      holders_.begin(), holders_.end(), [](const auto& entry) { return entry.second->users > 0; }));
  const uint32_t left = slot_count_ - CountSharedStuck();
  const uint32_t of_holder = std::max(kOwnSlots, left / std::max(1U, active));
  return std::max(1U, of_holder / std::max(1U, holder->users));
}

uint32_t StagingPool::CountSharedStuck(const Holder* but) const {
  uint32_t count = 0;
  for (const auto& [volumes, holder] : holders_) {
    if (holder.get() != but) count += holder->shared_stuck;
  }
  return count;
}

uint32_t StagingPool::MostOf(const Holder& holder) const {
  const uint32_t left = slot_count_ - CountSharedStuck(/*but=*/&holder);
  if (holder.volumes.empty() || left <= 1) return left;
  return left - std::max(1U, left / kReserveDivisor);
}

std::optional<uint32_t> StagingPool::TakeShared(Holder& holder) {
  if (free_slots_.empty() || holder.shared >= MostOf(holder)) return std::nullopt;
  const uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  ++holder.shared;
  taken_[slot] = {.holder = &holder, .is_stuck = false};
  return slot;
}

std::optional<uint32_t> StagingPool::TakeOwn(Holder& holder) {
  // Who has slots that move waits for those, and so does who shares with nobody.
  const uint32_t moving = holder.shared - holder.shared_stuck + holder.own_taken - holder.own_stuck;
  const uint64_t taken = slot_count_ - free_slots_.size();
  if (moving >= kOwnSlots || taken == holder.shared - holder.shared_stuck) return std::nullopt;
  auto slot = std::find_if(
      holder.own.begin(), holder.own.end(),
      [&](uint32_t own) ABSL_SHARED_LOCKS_REQUIRED(mu_) { return taken_[own].holder == nullptr; });
  if (slot == holder.own.end()) {
    if (holder.own.size() >= kOwnSlots || free_own_.empty()) return std::nullopt;
    slot = holder.own.insert(holder.own.end(), free_own_.back());
    free_own_.pop_back();
  }
  ++holder.own_taken;
  taken_[*slot] = {.holder = &holder, .is_stuck = false};
  return *slot;
}

bool StagingPool::HasMemory(uint32_t slot) {
  if (IsShared(slot)) return true;
  absl::Span<std::byte>& memory = own_memory_[slot - slot_count_];
  if (!memory.empty()) return true;
  const absl::Span<std::byte> made = Map(slot_bytes_, 0);
  if (made.empty()) return false;
  (void)::madvise(made.data(), made.size(), MADV_DONTFORK);
  if (Register(made).ok()) {
    memory = made;
  } else {
    ::munmap(made.data(), made.size());
  }
  return !memory.empty();
}

std::optional<uint32_t> StagingPool::TakeSlot(Holder* holder) {
  std::optional<uint32_t> slot;
  {
    absl::MutexLock lock(&mu_);
    slot = TakeShared(*holder);
    if (!slot.has_value()) slot = TakeOwn(*holder);
  }
  if (!slot.has_value() || HasMemory(*slot)) return slot;
  GiveSlot(*slot);
  return std::nullopt;
}

void StagingPool::GiveSlot(uint32_t slot) {
  std::vector<absl::Span<std::byte>> idle;
  {
    absl::MutexLock lock(&mu_);
    const Taken taken = std::exchange(taken_[slot], {});
    Holder& holder = *taken.holder;
    const bool shared = IsShared(slot);
    --(shared ? holder.shared : holder.own_taken);
    if (taken.is_stuck) --(shared ? holder.shared_stuck : holder.own_stuck);
    if (shared) free_slots_.push_back(slot);
    if (holder.users == 0) idle = TakeIdle(holder);
  }
  UnregisterAndUnmap(idle);
}

absl::Span<std::byte> StagingPool::slot(uint32_t index) const {
  if (!IsShared(index)) return own_memory_[index - slot_count_];
  return memory_.subspan(index * slot_bytes_, slot_bytes_);
}

void StagingPool::SetStuck(uint32_t slot) {
  Taken& taken = taken_[slot];
  if (std::exchange(taken.is_stuck, true)) return;
  ++(IsShared(slot) ? taken.holder->shared_stuck : taken.holder->own_stuck);
}

void StagingPool::MarkStuck(uint32_t slot) {
  absl::MutexLock lock(&mu_);
  SetStuck(slot);
}

void StagingPool::MarkAllStuck(const std::set<uint64_t>& volumes) {
  absl::MutexLock lock(&mu_);
  const auto holder = holders_.find(volumes);
  if (holder == holders_.end()) return;
  for (uint32_t slot = 0; slot < taken_.size(); ++slot) {
    if (taken_[slot].holder == holder->second.get()) SetStuck(slot);
  }
}

uint32_t StagingPool::stuck_slots() const {
  absl::MutexLock lock(&mu_);
  return static_cast<uint32_t>(std::count_if(taken_.begin(), taken_.end(),
                                             [](const Taken& taken) { return taken.is_stuck; }));
}

absl::Status StagingPool::CheckNotAllStuck(const Holder* holder) const {
  absl::MutexLock lock(&mu_);
  const uint32_t stuck = CountSharedStuck();
  const bool shared_may_come = holder->shared_stuck < MostOf(*holder);
  const bool own_may_come = holder->own_stuck < holder->own.size() ||
                            (holder->own.size() < kOwnSlots && !free_own_.empty());
  if (stuck == 0 || shared_may_come || own_may_come) return absl::OkStatus();
  return ErrorWithReason(
      absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
      absl::StrCat(stuck, " of ", slot_count_,
                   " staging buffers are kept by reads that do not come back, and no other one may "
                   "be had; look at the mounts, or give more with staging.slot_count"));
}

absl::Status StagingPool::Register(absl::Span<std::byte> memory) const {
  for (size_t i = 0; i < devices_.size(); ++i) {
    const absl::Status status = devices_[i]->RegisterStaging(memory);
    if (status.ok()) continue;
    while (i > 0) devices_[--i]->UnregisterStaging(memory);
    return status;
  }
  return absl::OkStatus();
}

void StagingPool::UnregisterAndUnmap(absl::Span<const absl::Span<std::byte>> all) const {
  for (const absl::Span<std::byte> memory : all) {
    for (Device* device : devices_) device->UnregisterStaging(memory);
    ::munmap(memory.data(), memory.size());
  }
}

StagingPool::~StagingPool() {
  for (const absl::Span<std::byte> memory : own_memory_) {
    if (!memory.empty()) UnregisterAndUnmap({memory});
  }
  for (Device* device : devices_) {
    if (!memory_.empty()) device->UnregisterStaging(memory_);
  }
  ::munmap(mapping_.data(), mapping_.size());
}

std::vector<absl::Span<std::byte>> StagingPool::slots() const {
  std::vector<absl::Span<std::byte>> all;
  for (uint32_t i = 0; i < slot_count_; ++i) all.push_back(slot(i));
  return all;
}

}  // namespace weightd
