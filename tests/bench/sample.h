#ifndef WEIGHTD_TESTS_BENCH_SAMPLE_H_
#define WEIGHTD_TESTS_BENCH_SAMPLE_H_

#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <optional>

namespace weightd::bench {

// One run of one arm.
struct Sample {
  double seconds = 0;
  double cpu_seconds = 0;  // of user and kernel, all threads that worked for it
  uint64_t bytes = 0;
  std::optional<double> cache_added_fraction;  // of the files' pages, where they were cold before
  std::optional<double> excess_bytes;          // of memory, beside destination and staging buffers

  double bytes_per_second() const { return static_cast<double>(bytes) / seconds; }
  double cpu_seconds_per_gb() const { return cpu_seconds / (static_cast<double>(bytes) / 1e9); }
};

// CPU time that this process (RUSAGE_SELF) or its ended children (RUSAGE_CHILDREN) have used.
inline double CpuSeconds(int who) {
  rusage used{};
  ::getrusage(who, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// Time and CPU time of this process, from its making on. Thread-compatible.
class Stopwatch {
 public:
  Sample Read(uint64_t bytes) const {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    Sample sample;
    sample.seconds = elapsed.count();
    sample.cpu_seconds = CpuSeconds(RUSAGE_SELF) - cpu_start_;
    sample.bytes = bytes;
    return sample;
  }

 private:
  const double cpu_start_ = CpuSeconds(RUSAGE_SELF);
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_SAMPLE_H_
