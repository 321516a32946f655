#include "tests/contract/storage/storage_world.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "common/align.h"
#include "common/unique_fd.h"
#include "daemon/storage/guarded_volume.h"
#include "daemon/storage/pread_read_queue.h"
#include "daemon/storage/uring_read_queue.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/storage/memory_read_queue.h"
#include "tests/support/storage/memory_volume.h"

namespace weightd::testing {
namespace {

void Require(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what + ": " + std::strerror(errno));
}

class PosixWorld : public StorageWorld {
 public:
  PosixWorld() {
    std::filesystem::create_directory(dir_.File("root"));
    WriteWhole(dir_.File("secret"), "secret");
    auto volume = OpenVolume(dir_.File("root"));
    if (!volume.ok()) throw std::runtime_error(volume.status().ToString());
    volume_ = *std::move(volume);
  }

  Volume& volume() override { return *volume_; }
  std::shared_ptr<Volume> raw() const { return volume_; }
  void AddFile(const std::string& path, const std::string& bytes) override {
    MakeParents(path);
    WriteWhole(At(path) + ".new", bytes);
    std::filesystem::rename(At(path) + ".new", At(path));
  }
  void AddDirectory(const std::string& path) override {
    std::filesystem::create_directories(At(path));
  }
  void AddSymlink(const std::string& path, const std::string& target) override {
    MakeParents(path);
    std::filesystem::create_symlink(target, At(path));
  }
  void AddFifo(const std::string& path) override {
    MakeParents(path);
    Require(mkfifo(At(path).c_str(), 0600) == 0, "mkfifo");
  }
  void Remove(const std::string& path) override { std::filesystem::remove(At(path)); }
  void Write(const std::string& path, uint64_t offset, const std::string& bytes) override {
    const UniqueFd fd(open(At(path).c_str(), O_WRONLY | O_CLOEXEC));
    Require(fd.valid(), "open");
    const ssize_t written =
        pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    Require(written == static_cast<ssize_t>(bytes.size()), "pwrite");
  }
  void Truncate(const std::string& path, uint64_t size_bytes) override {
    Require(truncate(At(path).c_str(), static_cast<off_t>(size_bytes)) == 0, "truncate");
  }
  void Touch(const std::string& path) override {
    const timespec times[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 1, .tv_nsec = 0}};
    Require(utimensat(AT_FDCWD, At(path).c_str(), times, 0) == 0, "utimensat");
  }

 private:
  std::string At(const std::string& path) const { return dir_.File("root/" + path); }
  void MakeParents(const std::string& path) const {
    std::filesystem::create_directories(std::filesystem::path(At(path)).parent_path());
  }
  static void WriteWhole(const std::string& path, const std::string& bytes) {
    const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    Require(fd.valid(), "open " + path);
    Require(write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
            "write " + path);
  }

  TempDir dir_;
  std::shared_ptr<Volume> volume_;
};

// A directory of this machine, looked at by the threads of its root.
class GuardedWorld final : public PosixWorld {
 public:
  GuardedWorld() {
    auto threads = VolumeThreads::Create("root", {});
    if (!threads.ok()) throw std::runtime_error(threads.status().ToString());
    guarded_ = std::make_shared<GuardedVolume>(raw(), FileSystemKind::kLocal, *std::move(threads));
  }
  Volume& volume() override { return *guarded_; }

 private:
  std::shared_ptr<GuardedVolume> guarded_;
};

class MemoryWorld final : public StorageWorld {
 public:
  Volume& volume() override { return volume_; }
  void AddFile(const std::string& path, const std::string& bytes) override {
    volume_.AddFile(path, bytes);
  }
  void AddDirectory(const std::string& path) override { volume_.AddDirectory(path); }
  void AddSymlink(const std::string& path, const std::string& target) override {
    volume_.AddSymlink(path, target);
  }
  void AddFifo(const std::string& path) override { volume_.AddFifo(path); }
  void Remove(const std::string& path) override { volume_.Remove(path); }
  void Write(const std::string& path, uint64_t offset, const std::string& bytes) override {
    volume_.Write(path, offset, bytes);
  }
  void Truncate(const std::string& path, uint64_t size_bytes) override {
    volume_.Truncate(path, size_bytes);
  }
  void Touch(const std::string& path) override { volume_.Touch(path); }

 private:
  MemoryVolume volume_;
};

std::string NothingMissing() { return ""; }
std::string WhyNoUring() { return ProbeReadEngine().reason; }

absl::StatusOr<std::unique_ptr<ReadQueue>> MakePread(const ReadQueueOptions& options) {
  return PreadReadQueue::Create(options);
}
absl::StatusOr<std::unique_ptr<ReadQueue>> MakeMemory(const ReadQueueOptions& options) {
  return MemoryReadQueue::Create(options);
}
absl::StatusOr<std::unique_ptr<ReadQueue>> MakeShortMemory(const ReadQueueOptions& options) {
  // Every read of a test comes back short first, in odd places.
  MemoryReadQueueOptions memory_options{.seed = 7, .latency_steps_max = 9, .faults = {}};
  for (uint64_t i = 1; i <= 10'000; ++i) {
    memory_options.faults[i] = {.short_bytes = 1 + i * 613 % 5000};
  }
  return MemoryReadQueue::Create(options, memory_options);
}

}  // namespace

std::unique_ptr<StorageWorld> MakePosixWorld() { return std::make_unique<PosixWorld>(); }
std::unique_ptr<StorageWorld> MakeGuardedWorld() { return std::make_unique<GuardedWorld>(); }
std::unique_ptr<StorageWorld> MakeMemoryWorld() { return std::make_unique<MemoryWorld>(); }

std::vector<EngineCase> AllEngines() {
  return {
      {"IoUring", &MakePosixWorld, &UringReadQueue::Create, &WhyNoUring},
      {"Pread", &MakePosixWorld, &MakePread, &NothingMissing},
      {"IoUringAndThreads", &MakePosixWorld, &CreateReadQueue, &WhyNoUring},
      {"Memory", &MakeMemoryWorld, &MakeMemory, &NothingMissing},
      {"MemoryWithShortReads", &MakeMemoryWorld, &MakeShortMemory, &NothingMissing},
  };
}

AlignedBuffer::AlignedBuffer(size_t bytes)
    : bytes_(bytes),
      memory_(static_cast<std::byte*>(std::aligned_alloc(2 * kMiB, AlignUp(bytes, 2 * kMiB)))) {
  if (memory_ == nullptr) throw std::bad_alloc();
  std::memset(memory_.get(), 0xEE, bytes);
}

void AlignedBuffer::Free::operator()(std::byte* memory) const { std::free(memory); }

std::string AlignedBuffer::Bytes(size_t position, size_t length) const {
  std::string bytes(length, '\0');
  std::memcpy(bytes.data(), memory_.get() + position, length);
  return bytes;
}

std::string PatternBytes(size_t length, uint64_t from) {
  std::string bytes(length, '\0');
  for (size_t i = 0; i < length; ++i) {
    const uint64_t word = ((from + i) / 8 + 1) * 0x9E3779B97F4A7C15;
    bytes[i] = static_cast<char>(word >> ((from + i) % 8 * 8));
  }
  return bytes;
}

}  // namespace weightd::testing
