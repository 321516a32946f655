#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_DEVICE_MEMORY_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_DEVICE_MEMORY_H_

#include <cuda.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

namespace fake_cuda {

inline constexpr uint64_t kMemoryBlockBytes = uint64_t{2} << 20;
// What an allocation takes of the GPU's memory.
constexpr uint64_t WholeBlocks(uint64_t bytes) {
  return (bytes + kMemoryBlockBytes - 1) / kMemoryBlockBytes * kMemoryBlockBytes;
}

// The 64 bytes of a CUipcMemHandle.
struct IpcHandle {
  uint64_t magic = 0;
  uint64_t nonce = 0;  // of the memory, so that a reused pid or descriptor is noticed
  uint64_t pid_namespace = 0;
  uint64_t bytes = 0;
  int32_t pid = 0;
  int32_t fd = 0;
  int32_t gpu = 0;  // index on the node
  int32_t reserved[5] = {};
};
static_assert(sizeof(IpcHandle) == sizeof(CUipcMemHandle));

// Device memory: a memfd, mapped here. Its first page is a header for all processes that have it
// open, the rest are the bytes. An importer opens /proc/PID/fd/FD of the exporter and keeps a
// shared flock on what it opened, so that the exporter sees whether it still has it. All of it goes
// when the last process that has it open ends, however it ends.
class DeviceMemory {
 public:
  // Null when the system has no memory.
  static std::shared_ptr<DeviceMemory> Create(int gpu, uint64_t bytes);
  // Null when it is gone.
  static std::shared_ptr<DeviceMemory> Open(const IpcHandle& handle);
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory();

  IpcHandle MakeHandle() const;
  // Marks it as gone, for the processes that have it open. True if there are such.
  bool MarkFreed();
  bool freed() const { return header_->freed.load() != 0; }
  // Of an import: whether the exporter is alive and has not freed it.
  bool alive() const;

  CUdeviceptr base = 0;         // set when the address is given out
  CUcontext context = nullptr;  // of the call that made it
  int opens = 0;                // of an import; guarded by the driver's lock

  std::byte* host() const { return host_; }
  uint64_t bytes() const { return bytes_; }
  int gpu() const { return gpu_; }
  bool imported() const { return exporter_pid_ != 0; }
  uint64_t nonce() const { return header_->nonce; }

 private:
  struct Header {
    uint64_t magic;
    uint64_t nonce;
    uint64_t bytes;
    std::atomic<uint32_t> freed;
  };
  DeviceMemory(int fd, int gpu, uint64_t bytes, pid_t exporter_pid)
      : fd_(fd), gpu_(gpu), bytes_(bytes), exporter_pid_(exporter_pid) {}
  bool Map();

  const int fd_;
  const int gpu_;
  const uint64_t bytes_;
  const pid_t exporter_pid_;  // 0 in the exporter
  Header* header_ = nullptr;
  std::byte* host_ = nullptr;
};

// Which address is which memory. Addresses cannot be dereferenced (they are not canonical), and
// are never given out twice. Guarded by the driver's lock.
class AddressTable {
 public:
  void Add(const std::shared_ptr<DeviceMemory>& memory);
  void Remove(CUdeviceptr base);
  // The memory around an address, or null.
  std::shared_ptr<DeviceMemory> Find(CUdeviceptr address) const;
  // Whether it was in memory that is gone.
  bool WasFreed(CUdeviceptr address) const;
  const std::map<CUdeviceptr, std::shared_ptr<DeviceMemory>>& all() const { return memories_; }

 private:
  CUdeviceptr next_ = CUdeviceptr{0x00F0} << 48;
  std::map<CUdeviceptr, std::shared_ptr<DeviceMemory>> memories_;
  std::map<CUdeviceptr, uint64_t> freed_;  // base -> bytes
};

// The inode of this process's PID namespace.
uint64_t PidNamespace();

}  // namespace fake_cuda

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_DEVICE_MEMORY_H_
