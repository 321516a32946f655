// Another process, as the device tests need one. Prints lines "name=value".
//
//   fd                 maps descriptor 3 and tries to change it
//   open               OpenCudaDevices()
//   read UUID HANDLE BYTES     opens a CUDA IPC handle (hexadecimal), reads, closes; waits for the
//                      end of its input before it closes when the next word is "wait"
//   export BYTES       exports GPU memory full of 0x5A, then waits for the end of its input
//   leak               ends without giving anything back
//   ... after "newpid" in a PID namespace of its own; "newpid=skipped" where that is not allowed

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "common/cuda_driver.h"
#include "daemon/device/device.h"
#include "tests/contract/device/checksum.h"

namespace weightd::testing {
namespace {

std::string ErrnoName(bool ok) { return ok ? "OK" : ::strerrorname_np(errno); }

int TryDescriptor() {
  constexpr int kFd = 3;
  struct stat status {};
  if (::fstat(kFd, &status) != 0) return 1;
  const auto bytes = static_cast<size_t>(status.st_size);
  std::cout << "bytes=" << bytes << "\n";
  const void* shared = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, kFd, 0);
  std::cout << "map_shared=" << ErrnoName(shared != MAP_FAILED) << "\n";
  if (shared != MAP_FAILED) std::cout << "sum=" << Checksum(shared, bytes) << "\n";
  const void* writable = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, kFd, 0);
  std::cout << "map_writable=" << ErrnoName(writable != MAP_FAILED) << "\n";
  std::cout << "shrink=" << ErrnoName(::ftruncate(kFd, 4096) == 0) << "\n";
  std::cout << "grow=" << ErrnoName(::ftruncate(kFd, status.st_size * 2) == 0) << "\n";
  std::cout << "write=" << ErrnoName(::pwrite(kFd, "x", 1, 0) == 1) << "\n";
  // What a client could try: its own descriptor of the same file, for writing.
  const int again = ::open("/proc/self/fd/3", O_RDWR | O_CLOEXEC);
  std::cout << "rewrite=" << ErrnoName(again >= 0 && ::pwrite(again, "x", 1, 0) == 1) << "\n";
  std::cout << "reshrink=" << ErrnoName(again >= 0 && ::ftruncate(again, 4096) == 0) << "\n";
  std::cout << "seals=" << ::fcntl(kFd, F_GET_SEALS) << "\n";
  return 0;
}

int OpenDevices() {
  const auto found = OpenCudaDevices();
  if (!found.ok()) {
    std::cout << "error=" << found.status().ToString() << "\n";
    return 0;
  }
  std::cout << "version=" << found->driver_version << "\n";
  for (const auto& device : found->devices) std::cout << "device=" << device->info().id << "\n";
  for (const Warning& skipped : found->skipped) std::cout << "skipped=" << skipped.text << "\n";
  return 0;
}

#if WEIGHTD_HAVE_CUDA

void WaitForEndOfInput() {
  std::string line;
  while (std::getline(std::cin, line)) {
  }
}

// The driver with the primary context of one GPU current; ends the process without one.
struct Gpu {
  explicit Gpu(const std::string& uuid) {
    const auto loaded = CudaDriver::Load();
    if (!loaded.ok()) Die(loaded.status().ToString());
    driver = *loaded;
    const auto devices = ListCudaDevices(*driver);
    if (!devices.ok()) Die(devices.status().ToString());
    for (const CudaDeviceInfo& info : *devices) {
      if (device < 0 && (uuid.empty() || info.uuid == uuid)) device = info.device;
    }
    if (device < 0) Die("no GPU " + uuid);
    CUcontext context = nullptr;
    Check(driver->cuDevicePrimaryCtxRetain(&context, device));
    Check(driver->cuCtxPushCurrent(context));
  }
  void Release() const {
    CUcontext popped = nullptr;
    Check(driver->cuCtxPopCurrent(&popped));
    Check(driver->cuDevicePrimaryCtxRelease(device));
  }
  void Check(CUresult result) const {
    if (result != CUDA_SUCCESS) Die(Name(result));
  }
  std::string Name(CUresult result) const {
    const char* name = nullptr;
    driver->cuGetErrorName(result, &name);
    return name != nullptr ? name : "unknown";
  }
  [[noreturn]] static void Die(const std::string& text) {
    std::cout << "error=" << text << std::endl;
    std::exit(1);
  }
  const CudaDriver* driver = nullptr;
  CUdevice device = -1;
};

int ReadHandle(const std::vector<std::string>& words) {
  const Gpu gpu(words.at(1));
  const std::string raw = absl::HexStringToBytes(words.at(2));
  CUipcMemHandle handle{};
  std::memcpy(handle.reserved, raw.data(), std::min(raw.size(), sizeof(handle.reserved)));
  CUdeviceptr address = 0;
  const CUresult opened =
      gpu.driver->cuIpcOpenMemHandle(&address, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
  std::cout << "open=" << gpu.Name(opened) << std::endl;
  if (opened == CUDA_SUCCESS) {
    if (words.size() > 4 && words[4] == "wait") WaitForEndOfInput();
    std::string bytes(std::stoull(words.at(3)), '\0');
    const CUresult copied = gpu.driver->cuMemcpyDtoH(bytes.data(), address, bytes.size());
    std::cout << "read=" << gpu.Name(copied) << "\n";
    std::cout << "sum=" << Checksum(bytes.data(), bytes.size()) << "\n";
    std::cout << "close=" << gpu.Name(gpu.driver->cuIpcCloseMemHandle(address)) << "\n";
  }
  gpu.Release();
  return 0;
}

int ExportMemory(const std::vector<std::string>& words) {
  const Gpu gpu("");
  const size_t bytes = std::stoull(words.at(1));
  CUdeviceptr address = 0;
  gpu.Check(gpu.driver->cuMemAlloc(&address, bytes));
  CUipcMemHandle handle{};
  gpu.Check(gpu.driver->cuIpcGetMemHandle(&handle, address));
  std::cout << "handle="
            << absl::BytesToHexString(absl::string_view(handle.reserved, sizeof(handle.reserved)))
            << std::endl;
  WaitForEndOfInput();
  gpu.Check(gpu.driver->cuMemFree(address));
  gpu.Release();
  return 0;
}

int Leak() {
  const Gpu gpu("");
  CUdeviceptr address = 0;
  gpu.Check(gpu.driver->cuMemAlloc(&address, size_t{2} << 20));
  CUstream stream = nullptr;
  gpu.Check(gpu.driver->cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUevent event = nullptr;
  gpu.Check(gpu.driver->cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  static char memory[4096];
  gpu.Check(gpu.driver->cuMemHostRegister(memory, sizeof(memory), 0));
  return 0;
}

#endif  // WEIGHTD_HAVE_CUDA

int Run(std::vector<std::string> words) {
  if (words.at(0) == "newpid") {
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
      std::cout << "newpid=skipped\n";
      return 0;
    }
    words.erase(words.begin());
    const pid_t child = ::fork();
    // The namespace's own /proc, as a container has it: without it the driver does not even start.
    if (child == 0 && (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
                       ::mount("proc", "/proc", "proc", 0, nullptr) != 0)) {
      std::cout << "newpid=skipped\n";
      return 0;
    }
    if (child != 0) {
      int status = 0;
      ::waitpid(child, &status, 0);
      return status;
    }
  }
  if (words.at(0) == "fd") return TryDescriptor();
  if (words.at(0) == "open") return OpenDevices();
#if WEIGHTD_HAVE_CUDA
  if (words.at(0) == "read") return ReadHandle(words);
  if (words.at(0) == "export") return ExportMemory(words);
  if (words.at(0) == "leak") return Leak();
#endif
  std::cout << "error=unknown command\n";
  return 2;
}

}  // namespace
}  // namespace weightd::testing

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  return weightd::testing::Run(std::vector<std::string>(argv + 1, argv + argc));
}
