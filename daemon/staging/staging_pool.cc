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

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/format_units.h"

namespace weightd {
namespace {

constexpr uint64_t kHugePageBytes = 2 * kMiB;
// The part of the slots that one volume leaves to others.
constexpr uint32_t kReserveDivisor = 6;

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

absl::StatusOr<std::unique_ptr<StagingPool>> StagingPool::Create(uint32_t slot_count,
                                                                 uint64_t slot_bytes,
                                                                 int numa_node) {
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
  return std::unique_ptr<StagingPool>(
      new StagingPool(mapping, memory, slot_count, slot_bytes, kind));
}

void StagingPool::AddUser() {
  absl::MutexLock lock(&mu_);
  ++user_count_;
}

void StagingPool::RemoveUser() {
  absl::MutexLock lock(&mu_);
  --user_count_;
}

uint32_t StagingPool::share() const {
  absl::MutexLock lock(&mu_);
  const auto stuck = static_cast<uint32_t>(std::count_if(
      taken_.begin(), taken_.end(), [](const Taken& taken) { return taken.is_stuck; }));
  return std::max(1U, (slot_count_ - stuck) / std::max(1U, user_count_));
}

uint32_t StagingPool::CountStuck(const void* volume, bool others) const {
  return static_cast<uint32_t>(std::count_if(taken_.begin(), taken_.end(), [&](const Taken& taken) {
    return taken.is_stuck && (taken.volume == volume) != others;
  }));
}

uint32_t StagingPool::MostOf(const void* volume) const {
  const uint32_t left = slot_count_ - CountStuck(volume, /*others=*/true);
  if (volume == nullptr || left <= 1) return left;
  return left - std::max(1U, left / kReserveDivisor);
}

std::optional<uint32_t> StagingPool::TakeSlot(const void* volume) {
  absl::MutexLock lock(&mu_);
  if (free_slots_.empty()) return std::nullopt;
  const auto held = std::count_if(taken_.begin(), taken_.end(), [&](const Taken& taken) {
    return taken.is_taken && taken.volume == volume;
  });
  if (static_cast<uint32_t>(held) >= MostOf(volume)) return std::nullopt;
  const uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  taken_[slot] = {.is_taken = true, .is_stuck = false, .volume = volume};
  return slot;
}

void StagingPool::GiveSlot(uint32_t slot) {
  absl::MutexLock lock(&mu_);
  taken_[slot] = {};
  free_slots_.push_back(slot);
}

void StagingPool::MarkStuck(uint32_t slot) {
  absl::MutexLock lock(&mu_);
  taken_[slot].is_stuck = true;
}

uint32_t StagingPool::stuck_slots() const {
  absl::MutexLock lock(&mu_);
  return static_cast<uint32_t>(std::count_if(taken_.begin(), taken_.end(),
                                             [](const Taken& taken) { return taken.is_stuck; }));
}

absl::Status StagingPool::CheckNotAllStuck(const void* volume) const {
  absl::MutexLock lock(&mu_);
  const uint32_t own = CountStuck(volume, /*others=*/false);
  const uint32_t others = CountStuck(volume, /*others=*/true);
  if (own + others == 0 || own < MostOf(volume)) return absl::OkStatus();
  return ErrorWithReason(
      absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
      absl::StrCat(own + others, " of ", slot_count_,
                   " staging buffers are kept by reads that do not come back, and no other one may "
                   "be had; look at the mounts, or give more with staging.slot_count"));
}

StagingPool::~StagingPool() { ::munmap(mapping_.data(), mapping_.size()); }

std::vector<absl::Span<std::byte>> StagingPool::slots() const {
  std::vector<absl::Span<std::byte>> all;
  for (uint32_t i = 0; i < slot_count_; ++i) all.push_back(slot(i));
  return all;
}

}  // namespace weightd
