#include "daemon/main/devices.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/status_macros.h"
#include "daemon/device/driver_facts.h"
#include "daemon/main/address_space.h"
#include "daemon/main/process_limits.h"

namespace weightd {
namespace {

constexpr bool kBuiltWithCuda = WEIGHTD_HAVE_CUDA == 1;

// `wanted`, or what the reserve leaves, or `usual` where there is neither.
absl::StatusOr<DeviceBudget> BudgetFor(const DeviceInfo& info, std::optional<uint64_t> wanted,
                                       uint64_t usual, uint64_t reserve,
                                       absl::string_view section) {
  if (reserve > 0 && wanted.value_or(0) + reserve > info.total_bytes) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                           absl::StrCat(section, ".reserve_bytes: ", FormatBytes(reserve),
                                        " of the ", FormatBytes(info.total_bytes), " of ", info.id,
                                        " are reserved, and the budget is ",
                                        FormatBytes(wanted.value_or(0)), "; lower one of them"));
  }
  const uint64_t rest = info.total_bytes - reserve;
  const bool is_gpu = info.kind == DeviceKind::kCuda;
  const uint64_t bytes = wanted.value_or(is_gpu && reserve > 0 ? rest : std::min(usual, rest));
  return DeviceBudget{
      .device = info.id, .kind = info.kind, .bytes = bytes, .reserve_bytes = reserve};
}

// Copies in host memory are mapped as long as they are there.
absl::Status KeepToAddressSpace(uint64_t limit, bool is_given, DeviceBudget& budget) {
  ASSIGN_OR_RETURN(const uint64_t left, AddressSpaceForModels(limit));
  if (budget.bytes <= left) return absl::OkStatus();
  if (is_given) {
    return ErrorWithReason(
        absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
        absl::StrCat("host.budget_bytes: ", FormatBytes(budget.bytes), ", and of the ",
                     FormatBytes(limit), " of address space (RLIMIT_AS) ", FormatBytes(left),
                     " are left to models; lower it, or ", kHowToRaiseAddressSpace));
  }
  budget.bytes = left;
  return absl::OkStatus();
}

absl::Status AddCuda(const DaemonOptions& options, DeviceSet& set) {
  if (options.cuda == CudaUse::kOff) return absl::OkStatus();
  absl::StatusOr<CudaDevices> cuda = OpenCudaDevices();
  if (!cuda.ok()) {
    if (options.cuda == CudaUse::kOn) return Annotate(cuda.status(), "cuda.enabled is ON");
    set.warnings.push_back(NoGpuWarning(cuda.status(), kBuiltWithCuda, GpuTrace()));
    return absl::OkStatus();
  }
  for (const Warning& skipped : cuda->skipped) set.warnings.push_back(skipped);
  if (cuda->devices.empty() && options.cuda == CudaUse::kOn) {
    return ErrorWithReason(absl::StatusCode::kNotFound, Reason::kDeviceNotFound,
                           "cuda.enabled is ON, and no GPU here can be used");
  }
  for (std::unique_ptr<Device>& device : cuda->devices) {
    const auto given = options.gpu_budgets_bytes.find(device->info().id);
    const std::optional<uint64_t> wanted = given != options.gpu_budgets_bytes.end()
                                               ? std::optional<uint64_t>(given->second)
                                               : options.gpu_budget_bytes;
    ASSIGN_OR_RETURN(DeviceBudget budget,
                     BudgetFor(device->info(), wanted, device->info().total_bytes / 2,
                               options.gpu_reserve_bytes, "cuda"));
    set.budgets.push_back(std::move(budget));
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

Warning NoGpuWarning(const absl::Status& status, bool built_with_cuda, const std::string& trace) {
  if (built_with_cuda || trace.empty()) {
    return {.reason = WarningReason::kNoGpu,
            .text = absl::StrCat("no GPU is used: ", status.message())};
  }
  return {.reason = WarningReason::kBuiltWithoutCuda,
          .text = absl::StrCat(
              "no GPU is used: there is one (", trace,
              "), and this weightd was built without cuda.h, for host memory only; build it with "
              "deploy/quickstart.sh or tests/run.sh, which get cuda.h, or set cuda.enabled OFF")};
}

absl::StatusOr<DeviceSet> OpenDevices(const DaemonOptions& options) {
  DeviceSet set;
  set.devices.push_back(CreateHostDevice(options.host));
  const DeviceInfo& host = set.devices.back()->info();
  ASSIGN_OR_RETURN(DeviceBudget budget,
                   BudgetFor(host, options.host_budget_bytes, host.free_bytes / 2,
                             options.host_reserve_bytes, "host"));
  if (const std::optional<uint64_t> limit = AddressSpaceLimit(); limit.has_value()) {
    RETURN_IF_ERROR(KeepToAddressSpace(*limit, options.host_budget_bytes.has_value(), budget));
  }
  budget.copies_max = HostCopiesMax();
  set.budgets.push_back(std::move(budget));
  RETURN_IF_ERROR(AddCuda(options, set));
  set.default_device = options.default_device.empty() ? DefaultDevice(set) : options.default_device;
  RETURN_IF_ERROR(CheckNames(options, set));
  return set;
}

}  // namespace weightd
