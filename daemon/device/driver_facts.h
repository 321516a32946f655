#ifndef WEIGHTD_DAEMON_DEVICE_DRIVER_FACTS_H_
#define WEIGHTD_DAEMON_DEVICE_DRIVER_FACTS_H_

#include <cstdint>
#include <string>
#include <vector>

// What stands between this process and its GPUs, for `weightctl doctor`. Thread-safe.

namespace weightd {

struct DeviceNode {
  std::string path;
  uint32_t mode = 0;     // permission bits
  int error_number = 0;  // why this process may not read and write it; 0: it may
};

struct GpuFacts {
  std::string id;
  std::string name;
  std::vector<std::string> handles;  // "CUDA_IPC", "POSIX_FD", "FABRIC"
};

struct DriverFacts {
  std::string error;           // why the library cannot be used; empty: it can
  uint32_t cuda_version = 0;   // 13000 for CUDA 13.0
  std::string module_version;  // of the kernel's module; empty where it is not loaded or not shown
  std::vector<DeviceNode> nodes;
  std::vector<GpuFacts> gpus;
};

// Loads the driver, if this process has not yet.
DriverFacts ReadDriverFacts();

// What shows that this machine has a GPU, whatever this program was built with: "/dev/nvidiactl" or
// "libcuda.so.1"; empty without either.
std::string GpuTrace();

// "580.65.06" of what /proc/driver/nvidia/version says; empty for other text.
std::string ModuleVersion(const std::string& text);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_DRIVER_FACTS_H_
