#ifndef WEIGHTD_TESTS_BENCH_HUGE_PAGES_H_
#define WEIGHTD_TESTS_BENCH_HUGE_PAGES_H_

#include <cstdint>

#include "absl/status/status.h"

namespace weightd::bench {

// The machine's reserved huge pages (vm.nr_hugepages), as many as wanted while this lives: the
// number that was there before comes back on destruction, at exit() and when a signal ends the
// process (not SIGKILL). One at a time; thread-compatible.
class HugePageReserve {
 public:
  // Remembers what is there. Changes nothing.
  HugePageReserve();
  HugePageReserve(const HugePageReserve&) = delete;
  HugePageReserve& operator=(const HugePageReserve&) = delete;
  ~HugePageReserve();

  // Makes it so that `bytes` are free. PERMISSION_DENIED when we are not root,
  // RESOURCE_EXHAUSTED when the kernel finds fewer.
  absl::Status Reserve(uint64_t bytes);
  // Gives all that are free back: allocations go without them.
  absl::Status ReserveNone();
};

// Of this process: what is mapped of reserved huge pages, which its resident set does not count.
uint64_t ReservedHugeBytesHeld();

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_HUGE_PAGES_H_
