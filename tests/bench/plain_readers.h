#ifndef WEIGHTD_TESTS_BENCH_PLAIN_READERS_H_
#define WEIGHTD_TESTS_BENCH_PLAIN_READERS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tests/bench/bench_files.h"
#include "tests/bench/sample.h"

// What our read path is compared with: readers as a programmer would write them, all through the
// page cache. Thread-compatible.

namespace weightd::bench {

struct BufferedReadOptions {
  uint32_t threads = 1;
  uint64_t chunk_bytes = uint64_t{4} << 20;
  // Where the files go, one behind the other; empty: each thread has one buffer, which it fills
  // again and again.
  absl::Span<std::byte> destination = {};
};

// pread(2) of chunk after chunk by threads that take turns.
absl::StatusOr<Sample> TimeBufferedReads(const FileSet& files, const BufferedReadOptions& options);

// Maps one file after the other and touches every page.
absl::StatusOr<Sample> TimeMappedReads(const FileSet& files);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_PLAIN_READERS_H_
