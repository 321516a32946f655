#include "daemon/main/devices.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

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
  if (set.devices.size() == 1) return set.devices[0]->info().id;
  if (set.devices.size() == 2) return set.devices[1]->info().id;
  return "";
}

}  // namespace

absl::StatusOr<DeviceSet> OpenDevices(const DaemonOptions& options) {
  DeviceSet set;
  set.devices.push_back(CreateHostDevice(options.host));
  const DeviceInfo& host = set.devices.back()->info();
  set.budgets.push_back({.device = host.id,
                         .kind = DeviceKind::kHost,
                         .bytes = options.host_budget_bytes.value_or(host.free_bytes / 2)});
  RETURN_IF_ERROR(AddCuda(options, set));
  set.default_device = options.default_device.empty() ? DefaultDevice(set) : options.default_device;
  RETURN_IF_ERROR(CheckNames(options, set));
  return set;
}

}  // namespace weightd
