#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_HOST_RANGES_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_HOST_RANGES_H_

#include <cstddef>
#include <cstdint>
#include <map>

namespace fake_cuda {

// A range of addresses in this process.
struct Range {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  bool overlaps(const Range& other) const { return begin < other.end && other.begin < end; }
};
inline Range RangeOf(const void* memory, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  return {begin, begin + bytes};
}

// Whether every page of the range is mapped.
bool IsMapped(const Range& range);
// Whether the range lies in memory that this process may write.
bool IsWritable(const Range& range);

// Registered host memory. Guarded by the driver's lock.
class HostRanges {
 public:
  bool Overlaps(const Range& range) const;
  // Whether the range lies wholly in registered memory; adjacent registrations count as one.
  bool Covers(const Range& range) const;
  // `owner` is the context that is current.
  void Add(const Range& range, const void* owner);
  // The range that was registered by this address; empty if none.
  Range Find(uintptr_t begin) const;
  void Remove(uintptr_t begin);
  // Removes what a context owns; how many.
  size_t RemoveOwnedBy(const void* owner);
  size_t size() const { return ends_.size(); }

 private:
  std::map<uintptr_t, uintptr_t> ends_;      // begin -> end
  std::map<uintptr_t, const void*> owners_;  // begin -> context
};

}  // namespace fake_cuda

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_HOST_RANGES_H_
