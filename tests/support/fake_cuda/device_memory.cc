#include "tests/support/fake_cuda/device_memory.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace fake_cuda {
namespace {

constexpr uint64_t kMagic = 0x4455435f454b4146;  // "FAKE_CUD"
constexpr uint64_t kHeaderBytes = 4096;
constexpr uint64_t kPoisonBytesMax = uint64_t{16} << 20;
constexpr int kPoison = 0xCD;

}  // namespace

uint64_t PidNamespace() {
  struct stat status {};
  return ::stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

bool DeviceMemory::Map() {
  void* address =
      ::mmap(nullptr, kHeaderBytes + bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (address == MAP_FAILED) return false;
  header_ = static_cast<Header*>(address);
  host_ = static_cast<std::byte*>(address) + kHeaderBytes;
  return true;
}

std::shared_ptr<DeviceMemory> DeviceMemory::Create(int gpu, uint64_t bytes) {
  const int fd = ::memfd_create("fake-cuda", MFD_CLOEXEC);
  if (fd < 0) return nullptr;
  std::shared_ptr<DeviceMemory> memory(new DeviceMemory(fd, gpu, bytes, 0));
  if (::ftruncate(fd, static_cast<off_t>(kHeaderBytes + bytes)) != 0 || !memory->Map()) {
    return nullptr;
  }
  memory->header_->magic = kMagic;
  memory->header_->bytes = bytes;
  if (::getrandom(&memory->header_->nonce, sizeof(uint64_t), 0) < 0) return nullptr;
  std::memset(memory->host_, kPoison, std::min(bytes, kPoisonBytesMax));
  return memory;
}

std::shared_ptr<DeviceMemory> DeviceMemory::Open(const IpcHandle& handle) {
  const std::string path =
      "/proc/" + std::to_string(handle.pid) + "/fd/" + std::to_string(handle.fd);
  struct stat status {};
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  std::shared_ptr<DeviceMemory> memory(new DeviceMemory(fd, handle.gpu, handle.bytes, handle.pid));
  // The size first: a descriptor that now is another file must not be read past its end.
  if (::fstat(fd, &status) != 0 ||
      static_cast<uint64_t>(status.st_size) != kHeaderBytes + handle.bytes ||
      ::flock(fd, LOCK_SH | LOCK_NB) != 0 || !memory->Map()) {
    return nullptr;
  }
  const Header& header = *memory->header_;
  const bool same = header.magic == kMagic && header.nonce == handle.nonce;
  return same && !memory->freed() ? memory : nullptr;
}

DeviceMemory::~DeviceMemory() {
  if (header_ != nullptr) ::munmap(header_, kHeaderBytes + bytes_);
  ::close(fd_);
}

IpcHandle DeviceMemory::MakeHandle() const {
  IpcHandle handle;
  handle.magic = kMagic;
  handle.nonce = header_->nonce;
  handle.pid_namespace = PidNamespace();
  handle.bytes = bytes_;
  handle.pid = ::getpid();
  handle.fd = fd_;
  handle.gpu = gpu_;
  return handle;
}

bool DeviceMemory::MarkFreed() {
  const bool alone = ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
  header_->freed.store(1);
  return !alone;
}

bool DeviceMemory::alive() const {
  if (freed()) return false;
  return !imported() || ::kill(exporter_pid_, 0) == 0 || errno != ESRCH;
}

void AddressTable::Add(const std::shared_ptr<DeviceMemory>& memory) {
  memory->base = next_;
  // At least one block between two allocations.
  const uint64_t blocks = memory->bytes() / kMemoryBlockBytes + 2;
  next_ += blocks * kMemoryBlockBytes;
  memories_.emplace(memory->base, memory);
}

void AddressTable::Remove(CUdeviceptr base) {
  const auto found = memories_.find(base);
  if (found == memories_.end()) return;
  freed_.emplace(base, found->second->bytes());
  memories_.erase(found);
}

std::shared_ptr<DeviceMemory> AddressTable::Find(CUdeviceptr address) const {
  auto after = memories_.upper_bound(address);
  if (after == memories_.begin()) return nullptr;
  const auto& [base, memory] = *--after;
  // One past the end counts as inside, so that the error is about the range.
  return address - base <= memory->bytes() ? memory : nullptr;
}

bool AddressTable::WasFreed(CUdeviceptr address) const {
  auto after = freed_.upper_bound(address);
  if (after == freed_.begin()) return false;
  const auto& [base, bytes] = *--after;
  return address - base <= bytes;
}

}  // namespace fake_cuda
