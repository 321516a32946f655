#include "daemon/main/devices.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr const char* kHostId = "host";

std::optional<uint64_t> ReadNumber(const char* path) {
  std::ifstream file(path);
  std::string text;
  uint64_t value = 0;
  if (!std::getline(file, text) || !absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

// MemAvailable of /proc/meminfo; 0 if it cannot be read.
uint64_t SystemAvailableBytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  uint64_t kib = 0;
  std::string unit;
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

absl::Status AddCuda(const DaemonOptions& options, DeviceSet& set) {
  if (options.cuda == CudaUse::kOff) return absl::OkStatus();
  absl::StatusOr<CudaDevices> cuda = OpenCudaDevices();
  if (!cuda.ok()) {
    if (options.cuda == CudaUse::kOn) return Annotate(cuda.status(), "cuda.enabled is ON");
    set.warnings.push_back(absl::StrCat("no GPU is used: ", cuda.status().message()));
    return absl::OkStatus();
  }
  for (const std::string& skipped : cuda->skipped) set.warnings.push_back(skipped);
  if (cuda->devices.empty() && options.cuda == CudaUse::kOn) {
    return ErrorWithReason(absl::StatusCode::kNotFound, Reason::kDeviceNotFound,
                           "cuda.enabled is ON, and no GPU here can be used");
  }
  for (std::unique_ptr<Device>& device : cuda->devices) {
    const auto given = options.gpu_budgets_bytes.find(device->info().id);
    const uint64_t budget = given != options.gpu_budgets_bytes.end()
                                ? given->second
                                : options.gpu_budget_bytes.value_or(device->info().total_bytes / 2);
    set.budgets.push_back(
        {.device = device->info().id, .kind = DeviceKind::kCuda, .bytes = budget});
    set.devices.push_back(std::move(device));
  }
  return absl::OkStatus();
}

bool Has(const DeviceSet& set, const std::string& id) {
  return std::any_of(set.devices.begin(), set.devices.end(),
                     [&](const auto& device) { return device->info().id == id; });
}

absl::Status CheckNames(const DaemonOptions& options, const DeviceSet& set) {
  for (const auto& [uuid, budget] : options.gpu_budgets_bytes) {
    if (!Has(set, uuid)) {
      return ErrorWithReason(absl::StatusCode::kNotFound, Reason::kDeviceNotFound,
                             absl::StrCat("cuda.gpu names ", uuid, ", which is not here"));
    }
  }
  if (!set.default_device.empty() && !Has(set, set.default_device)) {
    return ErrorWithReason(
        absl::StatusCode::kNotFound, Reason::kDeviceNotFound,
        absl::StrCat("default_device names ", set.default_device, ", which is not here"));
  }
  return absl::OkStatus();
}

// The only GPU; the host where there is none; nothing where there are several.
std::string DefaultDevice(const DeviceSet& set) {
  if (set.devices.size() == 1) return kHostId;
  if (set.devices.size() == 2) return set.devices[1]->info().id;
  return "";
}

}  // namespace

uint64_t AvailableHostBytes() {
  uint64_t available = SystemAvailableBytes();
  const auto subtract_usage = [&](const char* limit_path, const char* usage_path) {
    const auto limit = ReadNumber(limit_path);  // "max" is no number: no limit
    if (!limit.has_value()) return;
    const uint64_t usage = ReadNumber(usage_path).value_or(0);
    available = std::min(available, *limit > usage ? *limit - usage : 0);
  };
  subtract_usage("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current");
  subtract_usage("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                 "/sys/fs/cgroup/memory/memory.usage_in_bytes");
  return available;
}

absl::StatusOr<DeviceSet> OpenDevices(const DaemonOptions& options) {
  DeviceSet set;
  set.devices.push_back(CreateHostDevice(options.host));
  set.budgets.push_back({.device = kHostId,
                         .kind = DeviceKind::kHost,
                         .bytes = options.host_budget_bytes.value_or(AvailableHostBytes() / 2)});
  RETURN_IF_ERROR(AddCuda(options, set));
  set.default_device = options.default_device.empty() ? DefaultDevice(set) : options.default_device;
  RETURN_IF_ERROR(CheckNames(options, set));
  return set;
}

}  // namespace weightd
