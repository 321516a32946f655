#include "daemon/device/driver_facts.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/cuda_driver.h"

namespace weightd {
namespace {

std::vector<DeviceNode> FindNodes() {
  std::vector<DeviceNode> nodes;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", error)) {
    const std::string path = entry.path().string();
    struct stat info {};
    if (!absl::StartsWith(path, "/dev/nvidia") || ::stat(path.c_str(), &info) != 0) continue;
    if (!S_ISCHR(info.st_mode)) continue;  // /dev/nvidia-caps is a directory
    const bool usable = ::eaccess(path.c_str(), R_OK | W_OK) == 0;
    nodes.push_back(
        {.path = path, .mode = info.st_mode & 07777, .error_number = usable ? 0 : errno});
  }
  std::sort(nodes.begin(), nodes.end(),
            [](const DeviceNode& a, const DeviceNode& b) { return a.path < b.path; });
  return nodes;
}

#if WEIGHTD_HAVE_CUDA

// Newer attributes than the oldest cuda.h that we build with has.
constexpr auto kPosixFdSupported = static_cast<CUdevice_attribute>(103);
constexpr auto kFabricSupported = static_cast<CUdevice_attribute>(128);

std::vector<std::string> HandlesOf(const CudaDriver& driver, const CudaDeviceInfo& gpu) {
  std::vector<std::string> handles;
  const auto add = [&](CUdevice_attribute attribute, const char* name) {
    int value = 0;
    // A driver that does not know the attribute does not have the handle.
    const CUresult result = driver.cuDeviceGetAttribute(&value, attribute, gpu.device);
    if (result == CUDA_SUCCESS && value != 0) handles.emplace_back(name);
  };
  add(CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED, "CUDA_IPC");
  add(kPosixFdSupported, "POSIX_FD");
  add(kFabricSupported, "FABRIC");
  return handles;
}

absl::Status AddGpus(DriverFacts& facts) {
  const absl::StatusOr<const CudaDriver*> driver = CudaDriver::Load();
  if (!driver.ok()) return driver.status();
  facts.cuda_version = static_cast<uint32_t>((*driver)->version);
  const absl::StatusOr<std::vector<CudaDeviceInfo>> gpus = ListCudaDevices(**driver);
  if (!gpus.ok()) return gpus.status();
  for (const CudaDeviceInfo& gpu : *gpus) {
    facts.gpus.push_back({.id = gpu.uuid, .name = gpu.name, .handles = HandlesOf(**driver, gpu)});
  }
  return absl::OkStatus();
}

#else

absl::Status AddGpus(DriverFacts&) { return CudaDriver::Load().status(); }

#endif  // WEIGHTD_HAVE_CUDA

}  // namespace

std::string GpuTrace() {
  for (const char* path : {"/dev/nvidiactl", "/dev/dxg"}) {
    if (::access(path, F_OK) == 0) return path;
  }
  void* library = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return "";
  ::dlclose(library);
  return "libcuda.so.1";
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul ..." or "... Open Kernel
// Module for x86_64  580.65.06  Release Build ...".
std::string ModuleVersion(const std::string& text) {
  const std::string line = text.substr(0, text.find('\n'));
  if (!absl::StartsWith(line, "NVRM version:")) return "";
  for (const absl::string_view word : absl::StrSplit(line, ' ', absl::SkipEmpty())) {
    const bool is_version = absl::StrContains(word, '.') &&
                            word.find_first_not_of("0123456789.") == absl::string_view::npos;
    if (is_version) return std::string(word);
  }
  return "";
}

DriverFacts ReadDriverFacts() {
  DriverFacts facts;
  facts.nodes = FindNodes();
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  if (std::getline(file, line)) facts.module_version = ModuleVersion(line);
  if (const absl::Status status = AddGpus(facts); !status.ok()) {
    facts.error = std::string(status.message());
  }
  return facts;
}

}  // namespace weightd
