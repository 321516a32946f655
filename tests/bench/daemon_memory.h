#ifndef WEIGHTD_TESTS_BENCH_DAEMON_MEMORY_H_
#define WEIGHTD_TESTS_BENCH_DAEMON_MEMORY_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"

// What another process takes, as the kernel counts it. Thread-safe.

namespace weightd::bench {

struct DaemonMemory {
  // RssAnon: heap and stacks. Models in host memory are memfds, which count as RssShmem, and
  // programs and libraries as RssFile: neither is in it. Nor are reserved huge pages.
  uint64_t anon_bytes = 0;
  // Pss without shared memory: its part of programs and libraries is in it. None where the kernel
  // does not show it.
  std::optional<uint64_t> pss_bytes;
};

absl::StatusOr<DaemonMemory> ReadDaemonMemory(pid_t pid);

// Sockets that the process has open, listening ones included.
absl::StatusOr<uint64_t> CountSockets(pid_t pid);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_DAEMON_MEMORY_H_
