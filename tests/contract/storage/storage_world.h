#ifndef WEIGHTD_TESTS_CONTRACT_STORAGE_STORAGE_WORLD_H_
#define WEIGHTD_TESTS_CONTRACT_STORAGE_STORAGE_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/storage/read_queue.h"
#include "daemon/storage/volume.h"

namespace weightd::testing {

// One volume with the means to change it behind its back: a directory of this machine or memory.
class StorageWorld {
 public:
  virtual ~StorageWorld() = default;
  virtual Volume& volume() = 0;
  // Of the files to come; the volume's root is inside, so "../secret" leads out of it.
  virtual void AddFile(const std::string& path, const std::string& bytes) = 0;  // replaces
  virtual void AddDirectory(const std::string& path) = 0;
  virtual void AddSymlink(const std::string& path, const std::string& target) = 0;
  virtual void AddFifo(const std::string& path) = 0;
  virtual void Remove(const std::string& path) = 0;
  virtual void Write(const std::string& path, uint64_t offset, const std::string& bytes) = 0;
  virtual void Truncate(const std::string& path, uint64_t size_bytes) = 0;
  virtual void Touch(const std::string& path) = 0;
};

std::unique_ptr<StorageWorld> MakePosixWorld();
std::unique_ptr<StorageWorld> MakeGuardedWorld();
std::unique_ptr<StorageWorld> MakeMemoryWorld();

// An implementation of ReadQueue with the world that it reads.
struct EngineCase {
  std::string name;
  std::unique_ptr<StorageWorld> (*make_world)();
  absl::StatusOr<std::unique_ptr<ReadQueue>> (*make_queue)(const ReadQueueOptions& options);
  // Why it cannot be tested here; empty if it can.
  std::string (*missing)();
};
std::vector<EngineCase> AllEngines();

// Memory on 2 MiB boundaries, as staging buffers are, filled with a byte that no test file has.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(size_t bytes);
  absl::Span<std::byte> span() { return absl::MakeSpan(memory_.get(), bytes_); }
  std::string Bytes(size_t position, size_t length) const;

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  size_t bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

// Bytes that tell where they are from: no two 8-byte words of it are the same.
std::string PatternBytes(size_t length, uint64_t from = 0);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_STORAGE_STORAGE_WORLD_H_
