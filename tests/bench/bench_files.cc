#include "tests/bench/bench_files.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/status_macros.h"
#include "common/unique_fd.h"
#include "daemon/storage/page_cache.h"
#include "tests/support/checkpoints/checkpoint_writer.h"

namespace weightd::bench {
namespace {

constexpr uint64_t kPageBytes = 4 * kKiB;
// Pages that another CPU has just touched are let go a little later.
constexpr int kDropTriesMax = 50;
// The last page of a half may be there or not.
constexpr double kFractionTolerance = 0.01;

absl::StatusOr<UniqueFd> OpenToRead(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return PosixError(errno, absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<uint64_t> CachedPagesOf(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenToRead(path));
  const std::optional<uint64_t> pages = CachedPages(fd.get(), 0, 0);
  if (pages.has_value()) return *pages;
  return PosixError(errno, absl::StrCat("cachestat ", path, " (needs Linux 6.5)"));
}

absl::StatusOr<uint64_t> FileBytes(const std::string& path) {
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(path, error);
  if (error) return PosixError(error.value(), absl::StrCat("size of ", path));
  return bytes;
}

absl::Status DropFile(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenToRead(path));
  for (int i = 0; i < kDropTriesMax; ++i) {
    if (::fdatasync(fd.get()) != 0) return PosixError(errno, absl::StrCat("fdatasync ", path));
    ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
    ASSIGN_OR_RETURN(const uint64_t pages, CachedPagesOf(path));
    if (pages == 0) return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat(
      path, " does not leave the page cache; somebody else reads or maps it, or memory is short"));
}

absl::Status WarmFile(const std::string& path, double fraction) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenToRead(path));
  ASSIGN_OR_RETURN(const uint64_t file_bytes, FileBytes(path));
  // Read-ahead would take more than the half.
  if (fraction < 1) ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM);
  const uint64_t end =
      fraction < 1
          ? AlignDown(static_cast<uint64_t>(static_cast<double>(file_bytes) * fraction), kPageBytes)
          : file_bytes;
  std::vector<std::byte> buffer(kMiB);
  uint64_t offset = 0;
  while (offset < end) {
    const ssize_t count =
        ::pread(fd.get(), buffer.data(), std::min<uint64_t>(buffer.size(), end - offset),
                static_cast<off_t>(offset));
    if (count <= 0) return PosixError(errno, absl::StrCat("read ", path));
    offset += static_cast<uint64_t>(count);
  }
  return absl::OkStatus();
}

absl::Status Warm(const FileSet& files, double fraction) {
  for (const std::string& path : files.paths()) RETURN_IF_ERROR(WarmFile(path, fraction));
  ASSIGN_OR_RETURN(const double cached, CachedFraction(files));
  if (std::abs(cached - fraction) <= kFractionTolerance) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrFormat("%s: %.3f of the pages are cached, wanted %.3f; memory may be short",
                      files.folder, cached, fraction));
}

absl::Status CheckRoom(const std::string& folder, uint64_t bytes) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  if (error) return PosixError(error.value(), absl::StrCat("look at ", folder));
  if (space.available > bytes + bytes / 8) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(folder, " has ", FormatBytes(space.available),
                                                   " left, wanted ", FormatBytes(bytes)));
}

// Writes the file under another name first: one that was broken off is never taken for whole.
absl::Status WriteWhole(const std::string& path, absl::Span<const testing::TensorSpec> specs) {
  if (std::filesystem::exists(path)) return absl::OkStatus();
  const std::filesystem::path whole(path);
  RETURN_IF_ERROR(CheckRoom(whole.parent_path().string(), testing::SpecBytes(specs)));
  const std::string partial = absl::StrCat(path, ".partial");
  RETURN_IF_ERROR(testing::WriteSafetensors(partial, specs));
  std::error_code error;
  std::filesystem::rename(partial, whole, error);
  if (error) return PosixError(error.value(), absl::StrCat("rename ", partial));
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> FileSet::paths() const {
  std::vector<std::string> all;
  for (const std::string& name : names) all.push_back(absl::StrCat(folder, "/", name));
  return all;
}

absl::StatusOr<FileSet> MakeShards(const std::string& folder, uint64_t shard_bytes,
                                   uint64_t count) {
  FileSet files = {.folder = folder, .names = {}, .bytes = 0};
  for (uint64_t i = 0; i < count; ++i) {
    std::vector<testing::TensorSpec> specs = testing::LlamaSpecs(shard_bytes);
    for (testing::TensorSpec& spec : specs) spec.name = absl::StrCat("shard", i, ".", spec.name);
    files.names.push_back(absl::StrFormat("shard-%d-%05d.safetensors", shard_bytes, i));
    const std::string path = absl::StrCat(folder, "/", files.names.back());
    RETURN_IF_ERROR(WriteWhole(path, specs));
    ASSIGN_OR_RETURN(const uint64_t bytes, FileBytes(path));
    files.bytes += bytes;
  }
  return files;
}

absl::StatusOr<FileSet> MakeSmallTensors(const std::string& folder, uint64_t count,
                                         uint64_t total_bytes) {
  FileSet files = {.folder = folder, .names = {}, .bytes = 0};
  files.names.push_back(absl::StrFormat("small-%d-%d.safetensors", count, total_bytes));
  RETURN_IF_ERROR(WriteWhole(files.paths().front(), testing::SmallTensorSpecs(count, total_bytes)));
  ASSIGN_OR_RETURN(files.bytes, FileBytes(files.paths().front()));
  return files;
}

absl::Status CheckColdPossible(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  struct statfs facts {};
  if (::statfs(folder.c_str(), &facts) != 0) {
    return PosixError(errno, absl::StrCat("look at ", folder));
  }
  if (facts.f_type == TMPFS_MAGIC || facts.f_type == RAMFS_MAGIC ||
      facts.f_type == OVERLAYFS_SUPER_MAGIC) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder, " is on tmpfs or overlayfs, where no read is known to be cold: choose --dir"));
  }
  // The call itself, with no file: EBADF where there is such a call.
  if (CachedPages(-1, 0, 0).has_value() || errno == EBADF) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "cachestat(2) is missing (needs Linux 6.5) or forbidden (seccomp): no read is proven cold");
}

absl::Status PrepareCache(const FileSet& files, CacheState state) {
  if (state == CacheState::kIrrelevant) return absl::OkStatus();
  if (state != CacheState::kWarm) {
    for (const std::string& path : files.paths()) RETURN_IF_ERROR(DropFile(path));
  }
  if (state == CacheState::kCold) return absl::OkStatus();
  return Warm(files, state == CacheState::kWarm ? 1 : 0.5);
}

absl::StatusOr<double> CachedFraction(const FileSet& files) {
  uint64_t cached = 0;
  uint64_t pages = 0;
  for (const std::string& path : files.paths()) {
    ASSIGN_OR_RETURN(const uint64_t here, CachedPagesOf(path));
    ASSIGN_OR_RETURN(const uint64_t bytes, FileBytes(path));
    cached += here;
    pages += AlignUp(bytes, kPageBytes) / kPageBytes;
  }
  return static_cast<double>(cached) / static_cast<double>(pages);
}

}  // namespace weightd::bench
