#ifndef WEIGHTD_DAEMON_CATALOG_PARALLEL_H_
#define WEIGHTD_DAEMON_CATALOG_PARALLEL_H_

#include <cstddef>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace weightd {

// Calls `work` with each number below `count`, on at most `threads` threads, the caller's included;
// fewer where no more can be made. Numbers are taken in order, so whatever fails, all before it are
// done: of several errors the lowest number's is returned. After one no new number is begun.
// Where the caller is on a thread of a root, the others count as such too (volume_threads.h).
absl::Status ParallelForEach(uint32_t threads, size_t count,
                             absl::FunctionRef<absl::Status(size_t)> work);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_PARALLEL_H_
