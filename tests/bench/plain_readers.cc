#include "tests/bench/plain_readers.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/unique_fd.h"

namespace weightd::bench {
namespace {

constexpr uint64_t kPageBytes = 4 * kKiB;

struct OpenFile {
  UniqueFd fd;
  uint64_t bytes = 0;
};

absl::StatusOr<std::vector<OpenFile>> OpenAll(const FileSet& files) {
  std::vector<OpenFile> all;
  for (const std::string& path : files.paths()) {
    OpenFile file = {.fd = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), .bytes = 0};
    const off_t end = file.fd.valid() ? ::lseek(file.fd.get(), 0, SEEK_END) : -1;
    if (end < 0) return PosixError(errno, absl::StrCat("open ", path));
    file.bytes = static_cast<uint64_t>(end);
    all.push_back(std::move(file));
  }
  return all;
}

// False when it ends early or fails.
bool ReadFully(int fd, uint64_t offset, absl::Span<std::byte> buffer) {
  while (!buffer.empty()) {
    const ssize_t count = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    offset += static_cast<uint64_t>(count);
    buffer.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

struct Chunk {
  int fd = -1;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t destination = 0;
};

std::vector<Chunk> Cut(const std::vector<OpenFile>& files, uint64_t chunk_bytes) {
  std::vector<Chunk> chunks;
  uint64_t destination = 0;
  for (const OpenFile& file : files) {
    for (uint64_t offset = 0; offset < file.bytes; offset += chunk_bytes) {
      const uint64_t bytes = std::min(chunk_bytes, file.bytes - offset);
      chunks.push_back({file.fd.get(), offset, bytes, destination});
      destination += bytes;
    }
  }
  return chunks;
}

}  // namespace

absl::StatusOr<Sample> TimeBufferedReads(const FileSet& files, const BufferedReadOptions& options) {
  const bool in_place = !options.destination.empty();
  if (in_place && options.destination.size() < files.bytes) {
    return absl::InvalidArgumentError("the destination is smaller than the files");
  }
  // Touched before: memory that exists.
  std::vector<std::vector<std::byte>> buffers(options.threads);
  for (auto& buffer : buffers) buffer.resize(in_place ? 0 : options.chunk_bytes, std::byte{1});

  const Stopwatch watch;
  ASSIGN_OR_RETURN(const std::vector<OpenFile> opened, OpenAll(files));
  const std::vector<Chunk> chunks = Cut(opened, options.chunk_bytes);
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::vector<std::thread> threads;
  threads.reserve(buffers.size());
  for (auto& buffer : buffers) {
    threads.emplace_back([&] {
      for (size_t i = next++; i < chunks.size() && !failed; i = next++) {
        const Chunk& chunk = chunks[i];
        const auto to = in_place ? options.destination.subspan(chunk.destination, chunk.bytes)
                                 : absl::MakeSpan(buffer).subspan(0, chunk.bytes);
        if (!ReadFully(chunk.fd, chunk.offset, to)) failed = true;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (failed) return absl::UnavailableError(absl::StrCat("read ", files.folder));
  return watch.Read(files.bytes);
}

absl::StatusOr<Sample> TimeMappedReads(const FileSet& files) {
  const Stopwatch watch;
  ASSIGN_OR_RETURN(const std::vector<OpenFile> opened, OpenAll(files));
  for (const OpenFile& file : opened) {
    void* address = ::mmap(nullptr, file.bytes, PROT_READ, MAP_PRIVATE, file.fd.get(), 0);
    if (address == MAP_FAILED) return PosixError(errno, absl::StrCat("map ", files.folder));
    const auto* bytes = static_cast<const volatile std::byte*>(address);
    for (uint64_t offset = 0; offset < file.bytes; offset += kPageBytes) (void)bytes[offset];
    ::munmap(address, file.bytes);
  }
  return watch.Read(files.bytes);
}

}  // namespace weightd::bench
