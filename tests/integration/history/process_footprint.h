#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_PROCESS_FOOTPRINT_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_PROCESS_FOOTPRINT_H_

#include <sys/types.h>

#include <cstdint>
#include <ostream>

namespace weightd::testing {

// What another process holds, as the kernel counts it.
struct ProcessFootprint {
  uint64_t descriptors = 0;
  uint64_t memfds = 0;        // of them
  uint64_t shared_bytes = 0;  // RssShmem: mapped memfds
  uint64_t hugetlb_bytes = 0;
  uint64_t heap_bytes = 0;  // RssAnon: heap, stacks and staging buffers
};
std::ostream& operator<<(std::ostream& out, const ProcessFootprint& footprint);

// All 0 for a process that is gone. Thread-safe.
ProcessFootprint ReadFootprint(pid_t pid);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_PROCESS_FOOTPRINT_H_
