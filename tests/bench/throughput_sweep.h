#ifndef WEIGHTD_TESTS_BENCH_THROUGHPUT_SWEEP_H_
#define WEIGHTD_TESTS_BENCH_THROUGHPUT_SWEEP_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tests/bench/bench_files.h"
#include "tests/bench/huge_pages.h"
#include "tests/bench/svg_plot.h"

// Throughput of cold stages into staging buffers, over block size and reads in flight.

namespace weightd::bench {

struct SweepPoint {
  uint64_t block_bytes = 0;
  uint32_t depth = 0;           // reads in flight, at most, and staging buffers
  double bytes_per_second = 0;  // median
};

// Every point `rounds` times, in shuffled rounds.
absl::StatusOr<std::vector<SweepPoint>> RunSweep(const FileSet& files, int rounds, uint64_t seed,
                                                 HugePageReserve& huge_pages);

// A line for each block size.
Plot SweepPlot(absl::Span<const SweepPoint> points);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_THROUGHPUT_SWEEP_H_
