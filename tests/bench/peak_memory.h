#ifndef WEIGHTD_TESTS_BENCH_PEAK_MEMORY_H_
#define WEIGHTD_TESTS_BENCH_PEAK_MEMORY_H_

#include "absl/status/statusor.h"
#include "tests/bench/bench_files.h"
#include "tests/bench/sample.h"

// How much memory a stage takes beside its destination and the staging buffers, at its peak.

namespace weightd::bench {

enum class PeakDevice { kHost, kNull };

// Measures one stage in a process of its own, which begins with little: this program once more,
// called with --peak-memory, which answers with PrintPeak().
absl::StatusOr<Sample> MeasurePeak(const FileSet& files, PeakDevice device);

// That process: prints what it measured. The value is the program's exit status.
int PrintPeak(const FileSet& files, PeakDevice device);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_PEAK_MEMORY_H_
