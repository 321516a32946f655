// What every process of a Prometheus client tells of itself.

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "daemon/service/metric_snapshot.h"

namespace weightd {
namespace {

double SecondsOf(const timeval& time) {
  return absl::ToDoubleSeconds(absl::DurationFromTimeval(time));
}

// All and resident memory.
struct ProcessMemory {
  double virtual_bytes = 0;
  double resident_bytes = 0;
};

std::optional<ProcessMemory> ReadMemory() {
  std::ifstream file("/proc/self/statm");
  ProcessMemory pages;
  if (!(file >> pages.virtual_bytes >> pages.resident_bytes)) return std::nullopt;
  const auto page_bytes = static_cast<double>(::sysconf(_SC_PAGESIZE));
  return ProcessMemory{.virtual_bytes = pages.virtual_bytes * page_bytes,
                       .resident_bytes = pages.resident_bytes * page_bytes};
}

std::optional<double> CountDescriptors() {
  std::error_code error;
  double count = 0;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", error), end;
       !error && entry != end; entry.increment(error)) {
    ++count;
  }
  if (error) return std::nullopt;
  return count - 1;  // less the one that looks
}

}  // namespace

void AddProcess(absl::Time start_time, MetricSnapshot& snapshot) {
  snapshot.AddGauge("process_start_time_seconds",
                    "When the daemon started, in seconds since the Unix epoch.");
  snapshot.Value({}, absl::ToDoubleSeconds(start_time - absl::UnixEpoch()));
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) {
    snapshot.AddCounter("process_cpu_seconds_total",
                        "Seconds of CPU time, in user and system mode.");
    snapshot.Value({}, SecondsOf(usage.ru_utime) + SecondsOf(usage.ru_stime));
  }
  if (const auto memory = ReadMemory()) {
    snapshot.AddGauge("process_resident_memory_bytes", "Resident memory of the daemon in bytes.");
    snapshot.Value({}, memory->resident_bytes);
    snapshot.AddGauge("process_virtual_memory_bytes", "Virtual memory of the daemon in bytes.");
    snapshot.Value({}, memory->virtual_bytes);
  }
  if (const auto descriptors = CountDescriptors()) {
    snapshot.AddGauge("process_open_fds", "Descriptors that the daemon has open.");
    snapshot.Value({}, *descriptors);
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    snapshot.AddGauge("process_max_fds", "Descriptors that the daemon may have open.");
    snapshot.Value({}, static_cast<double>(limit.rlim_cur));
  }
}

}  // namespace weightd
