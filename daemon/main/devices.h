#ifndef WEIGHTD_DAEMON_MAIN_DEVICES_H_
#define WEIGHTD_DAEMON_MAIN_DEVICES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/warning.h"
#include "daemon/config/daemon_options.h"
#include "daemon/device/device.h"
#include "daemon/residency/residency_table.h"

// What this machine has, and how much of it the configuration gives us.

namespace weightd {

struct DeviceSet {
  std::vector<std::shared_ptr<Device>> devices;  // the host, then the GPUs
  std::vector<DeviceBudget> budgets;             // one each
  std::string default_device;                    // "" when requests must name one
  Warnings warnings;                             // what is missing, each with what to do
};

// Opens the host and, as the configuration says, the GPUs. Errors: CUDA wanted and not there; a
// GPU or default device that the configuration names and that is not here.
absl::StatusOr<DeviceSet> OpenDevices(const DaemonOptions& options);

// Why no GPU is used: `status` of opening them. `trace`: what shows that there is one, if any.
Warning NoGpuWarning(const absl::Status& status, bool built_with_cuda, const std::string& trace);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_DEVICES_H_
