#include "tests/contract/device/device_harness.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/device/memory_device.h"

#if WEIGHTD_HAVE_CUDA
#include "tests/support/fake_cuda/fake_cuda_control.h"
#endif

namespace weightd::testing {
namespace {

class HostHarness final : public DeviceHarness {
 public:
  HostHarness() : device_(CreateHostDevice({})) {}
  Device& device() override { return *device_; }
  uint64_t Used() override { return Memfds().size(); }
  uint64_t UsedBytes() override {
    uint64_t bytes = 0;
    for (const std::string& path : Memfds()) {
      struct stat facts {};
      if (::stat(path.c_str(), &facts) == 0) bytes += static_cast<uint64_t>(facts.st_blocks) * 512;
    }
    return bytes;
  }
  std::vector<std::string> Violations() override { return {}; }

 private:
  // Those that are open or mapped in this process.
  static std::vector<std::string> Memfds() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;  // the descriptor of the iterator itself
      const auto target = std::filesystem::read_symlink(entry.path(), gone);
      if (!gone && absl::StartsWith(target.string(), "/memfd:weightd ")) {
        found.push_back(entry.path().string());
      }
    }
    return found;
  }

  const std::unique_ptr<Device> device_;
};

class MemoryHarness final : public DeviceHarness {
 public:
  Device& device() override { return device_; }
  uint64_t Used() override { return device_.used_bytes(); }
  std::vector<std::string> Violations() override { return device_.violations(); }

 private:
  MemoryDevice device_;
};

#if WEIGHTD_HAVE_CUDA

class CudaHarness final : public DeviceHarness {
 public:
  CudaHarness(CudaDevices devices, std::optional<FakeCudaControl> control)
      : devices_(std::move(devices)), control_(control) {}
  Device& device() override { return *devices_.devices.front(); }
  // Asked anew: free_bytes is of the moment when a device is opened.
  uint64_t Used() override {
    const auto again = OpenCudaDevices();
    if (!again.ok() || again->devices.empty()) return 0;
    const DeviceInfo& info = again->devices.front()->info();
    return info.total_bytes - info.free_bytes;
  }
  std::vector<std::string> Violations() override {
    return control_.has_value() ? control_->TakeReports() : std::vector<std::string>();
  }

 private:
  CudaDevices devices_;
  const std::optional<FakeCudaControl> control_;
};

std::unique_ptr<DeviceHarness> CreateCudaHarness(std::string& reason) {
  UseOwnFakeNode();
  auto devices = OpenCudaDevices();
  if (!devices.ok()) reason = std::string(devices.status().message());
  if (devices.ok() && devices->devices.empty()) reason = "no GPU can be used";
  if (!reason.empty()) return nullptr;
  return std::make_unique<CudaHarness>(*std::move(devices), FakeCudaControl::Find());
}

#endif  // WEIGHTD_HAVE_CUDA

}  // namespace

std::vector<HarnessKind> AllHarnessKinds() {
  std::vector<HarnessKind> kinds;
  kinds.push_back({"host", [](std::string&) { return std::make_unique<HostHarness>(); }});
  kinds.push_back({"memory", [](std::string&) { return std::make_unique<MemoryHarness>(); }});
#if WEIGHTD_HAVE_CUDA
  kinds.push_back({"cuda", CreateCudaHarness});
#endif
  return kinds;
}

void UseOwnFakeNode() {
  static const bool done = [] {
    return ::setenv("WEIGHTD_FAKE_CUDA_NODE", absl::StrCat("test-", ::getpid()).c_str(), 1) == 0;
  }();
  if (!done) throw std::runtime_error("setenv");
}

StagingMemory::StagingMemory(uint64_t bytes) : bytes_(bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("mmap");
  data_ = static_cast<std::byte*>(memory);
}

StagingMemory::~StagingMemory() { ::munmap(data_, bytes_); }

void FillPattern(absl::Span<std::byte> memory, uint64_t seed) {
  for (size_t i = 0; i < memory.size(); ++i) {
    memory[i] = static_cast<std::byte>((seed * 131 + i * 7 + (i >> 8) * 13) & 0xFF);
  }
}

std::vector<std::byte> Pattern(uint64_t bytes, uint64_t seed) {
  std::vector<std::byte> result(bytes);
  FillPattern(absl::MakeSpan(result), seed);
  return result;
}

}  // namespace weightd::testing
