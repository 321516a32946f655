#ifndef WEIGHTD_TESTS_BENCH_BENCH_FILES_H_
#define WEIGHTD_TESTS_BENCH_BENCH_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The files that benchmarks read, and what the page cache holds of them. Thread-compatible.

namespace weightd::bench {

// Some files of one folder, read one after the other.
struct FileSet {
  std::string folder;
  std::vector<std::string> names;
  uint64_t bytes = 0;  // of all files

  std::vector<std::string> paths() const;
};

// Shards of a checkpoint: `count` files of about `shard_bytes` below `folder`, as a Llama's
// tensors. They are made where they are missing and stay for the next run. RESOURCE_EXHAUSTED when
// the disk has no room.
absl::StatusOr<FileSet> MakeShards(const std::string& folder, uint64_t shard_bytes, uint64_t count);

// One file of `count` equal tensors, `total_bytes` in all; likewise.
absl::StatusOr<FileSet> MakeSmallTensors(const std::string& folder, uint64_t count,
                                         uint64_t total_bytes);

// OK where reads can be cold: FAILED_PRECONDITION for a folder in memory (tmpfs), or where
// cachestat(2) cannot tell what is cached.
absl::Status CheckColdPossible(const std::string& folder);

// What the page cache is made to hold before a run.
enum class CacheState {
  kCold,        // no page
  kWarm,        // every page
  kHalfWarm,    // the first half of every file
  kIrrelevant,  // what it holds
};

// Fails when cachestat(2) says afterwards that it is not so: not one page may be there when cold.
absl::Status PrepareCache(const FileSet& files, CacheState state);

// Pages of the files that are in the page cache / all their pages.
absl::StatusOr<double> CachedFraction(const FileSet& files);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_BENCH_FILES_H_
