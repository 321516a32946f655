#include "tests/support/fake_cuda/host_ranges.h"

#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace fake_cuda {

bool IsMapped(const Range& range) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = range.begin / page * page;
  const size_t pages = (range.end - begin + page - 1) / page;
  std::vector<unsigned char> residency(pages);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the caller of a driver gives numbers
  return ::mincore(reinterpret_cast<void*>(begin), pages * page, residency.data()) == 0;
}

bool IsWritable(const Range& range) {
  std::ifstream maps("/proc/self/maps");
  uintptr_t covered = range.begin;
  for (std::string line; covered < range.end && std::getline(maps, line);) {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    char dash = 0;
    std::string access;
    std::istringstream(line) >> std::hex >> begin >> dash >> end >> access;
    if (end <= covered) continue;
    if (begin > covered || access.size() < 2 || access[1] != 'w') return false;
    covered = end;
  }
  return covered >= range.end;
}

void HostRanges::Add(const Range& range, const void* owner) {
  ends_.emplace(range.begin, range.end);
  owners_.emplace(range.begin, owner);
}

void HostRanges::Remove(uintptr_t begin) {
  ends_.erase(begin);
  owners_.erase(begin);
}

size_t HostRanges::RemoveOwnedBy(const void* owner) {
  std::vector<uintptr_t> owned;
  for (const auto& [begin, context] : owners_) {
    if (context == owner) owned.push_back(begin);
  }
  for (const uintptr_t begin : owned) Remove(begin);
  return owned.size();
}

bool HostRanges::Overlaps(const Range& range) const {
  for (const auto& [begin, end] : ends_) {
    if (range.overlaps({begin, end})) return true;
  }
  return false;
}

bool HostRanges::Covers(const Range& range) const {
  uintptr_t covered = range.begin;
  while (covered < range.end) {
    auto after = ends_.upper_bound(covered);
    if (after == ends_.begin()) return false;
    const uintptr_t end = (--after)->second;
    if (end <= covered) return false;
    covered = end;
  }
  return true;
}

Range HostRanges::Find(uintptr_t begin) const {
  const auto found = ends_.find(begin);
  return found == ends_.end() ? Range{} : Range{found->first, found->second};
}

}  // namespace fake_cuda
