#include "tests/bench/peak_memory.h"

#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/proc_text.h"
#include "common/status_macros.h"
#include "tests/bench/huge_pages.h"
#include "tests/bench/null_device.h"
#include "tests/bench/stage_arms.h"
#include "tests/support/process/child_process.h"

namespace weightd::bench {
namespace {

constexpr absl::Duration kChildPatience = absl::Minutes(10);

uint64_t StatusBytes(absl::string_view key) {
  return ProcNumber(ReadProcFile("/proc/self/status"), key).value_or(0);
}

absl::StatusOr<Sample> MeasureHere(const FileSet& files, PeakDevice kind) {
  // From now on VmHWM is the peak since now.
  if (!(std::ofstream("/proc/self/clear_refs") << "5" << std::flush)) {
    return absl::UnavailableError("write /proc/self/clear_refs");
  }
  const uint64_t before = StatusBytes("VmRSS") + ReservedHugeBytesHeld();
  const std::unique_ptr<Device> device =
      kind == PeakDevice::kHost ? CreateHostDevice({}) : CreateNullDevice();
  ASSIGN_OR_RETURN(const auto stager, CreateStager({.engine = ReadEngine::kAuto}, *device));
  // Unsealed: sealing maps the memory anew, and then it does not count as ours.
  ASSIGN_OR_RETURN(
      StageResult result,
      TimeStage(files, {.stager = stager.get(), .device = device.get(), .seal = false}));
  const uint64_t peak = StatusBytes("VmHWM") + ReservedHugeBytesHeld();
  const uint64_t destination = kind == PeakDevice::kHost ? result.allocation->bytes() : 0;
  result.sample.excess_bytes = static_cast<double>(peak) - static_cast<double>(before) -
                               static_cast<double>(destination) -
                               static_cast<double>(stager->pool_bytes());
  return result.sample;
}

}  // namespace

absl::StatusOr<Sample> MeasurePeak(const FileSet& files, PeakDevice device) {
  testing::ChildProcess child(
      {.argv = {"/proc/self/exe", "--peak-memory", device == PeakDevice::kHost ? "host" : "null",
                "--dir", files.folder, "--peak-files", absl::StrJoin(files.names, ",")}});
  const std::optional<int> exit = child.WaitForExit(kChildPatience);
  const auto json = nlohmann::json::parse(child.out(), nullptr, /*allow_exceptions=*/false);
  if (exit != 0 || json.is_discarded()) {
    return absl::UnavailableError(
        absl::StrCat("measure peak memory: exit status ", exit.value_or(-1), ": ", child.err()));
  }
  Sample sample;
  sample.seconds = json.value("seconds", 0.0);
  sample.cpu_seconds = json.value("cpu_seconds", 0.0);
  sample.bytes = json.value("bytes", uint64_t{0});
  sample.excess_bytes = json.value("excess_bytes", 0.0);
  return sample;
}

int PrintPeak(const FileSet& files, PeakDevice device) {
  const absl::StatusOr<Sample> sample = MeasureHere(files, device);
  if (!sample.ok()) {
    std::fprintf(stderr, "%s\n", sample.status().ToString().c_str());
    return 1;
  }
  const nlohmann::json line = {{"seconds", sample->seconds},
                               {"cpu_seconds", sample->cpu_seconds},
                               {"bytes", sample->bytes},
                               {"excess_bytes", sample->excess_bytes.value_or(0)}};
  std::printf("%s\n", line.dump().c_str());
  return 0;
}

}  // namespace weightd::bench
