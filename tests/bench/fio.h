#ifndef WEIGHTD_TESTS_BENCH_FIO_H_
#define WEIGHTD_TESTS_BENCH_FIO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/bench_files.h"
#include "tests/bench/sample.h"

// The ceiling: what fio(1) reads from the same files, past the page cache and into huge pages.
// Without huge pages it would be two to four times too low (design.md, section 6), so fio is made
// to fail where they are not to be had. Thread-compatible.

namespace weightd::bench {

enum class FioEngine { kUring, kLibaio };

struct FioOptions {
  FioEngine engine = FioEngine::kUring;
  uint64_t block_bytes = uint64_t{4} << 20;
  uint32_t depth = 32;

  uint64_t buffer_bytes() const { return block_bytes * depth; }
};

// "fio-3.33"; NOT_FOUND, with the way to get it, where there is no fio.
absl::StatusOr<std::string> FioVersion();

// What is called: for people and for the JSON.
std::vector<std::string> FioArguments(const FileSet& files, const FioOptions& options);

// One run over all files. `seconds` is fio's own figure, from its first read to its last: its start
// and its making of buffers are not in it.
absl::StatusOr<Sample> RunFio(const FileSet& files, const FioOptions& options);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_FIO_H_
