#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/storage/file_identity.h"
#include "daemon/storage/file_system.h"
#include "daemon/storage/open_beneath.h"
#include "daemon/storage/page_cache.h"
#include "daemon/storage/read_progress.h"
#include "daemon/storage/volume.h"

namespace weightd {
namespace {

constexpr size_t kDirectoryEntriesMax = 262'144;
constexpr int kReplacedRetriesMax = 3;
constexpr uint32_t kReadAtRetriesMax = 8;

class PosixFile final : public File {
 public:
  PosixFile(std::shared_ptr<const VolumeRoot> root, std::string path, FileIdentity identity,
            UniqueFd buffered, UniqueFd direct, uint32_t direct_alignment)
      : root_(std::move(root)),
        path_(std::move(path)),
        identity_(identity),
        buffered_(std::move(buffered)),
        direct_(std::move(direct)),
        direct_alignment_(direct_alignment),
        file_system_(FileSystemNumber(buffered_.get())) {}

  const std::string& path() const override { return path_; }
  std::string real_name() const override;
  const FileIdentity& identity() const override { return identity_; }
  uint32_t direct_alignment() const override { return direct_alignment_; }
  int descriptor(ReadMode mode) const override {
    return mode == ReadMode::kDirect ? direct_.get() : buffered_.get();
  }
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const override;
  FileSystemKind file_system() const override { return KindOfFileSystem(file_system_); }
  CacheLook LookInCache(uint64_t offset, uint64_t length) const override {
    return LookInPageCache(buffered_.get(), file_system_, offset, length);
  }
  absl::Status CheckUnchanged() const override;

 private:
  const std::shared_ptr<const VolumeRoot> root_;
  const std::string path_;
  const FileIdentity identity_;
  const UniqueFd buffered_;
  const UniqueFd direct_;  // none where direct_alignment_ is 0
  const uint32_t direct_alignment_;
  const uint64_t file_system_;
};

std::string PosixFile::real_name() const {
  std::error_code error;
  const auto target =
      std::filesystem::read_symlink(absl::StrCat("/proc/self/fd/", buffered_.get()), error);
  // The kernel adds " (deleted)" to a name that is gone.
  return error ? "" : target.filename().string();
}

absl::Status PosixFile::ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const {
  if (buffer.empty()) return absl::OkStatus();
  const uint64_t size_bytes = identity_.size_bytes;
  if (offset > size_bytes || buffer.size() > size_bytes - offset) {
    return ReadPastEndError(path_, offset, buffer.size(), size_bytes);
  }
  const PreadFunction pread = SystemPread();
  ReadProgress progress({.file = this,
                         .offset = offset,
                         .length = buffer.size(),
                         .buffer = buffer,
                         .mode = ReadMode::kBuffered},
                        kReadAtRetriesMax);
  while (!progress.finished()) {
    absl::SleepFor(progress.part().pause);
    RunPart(progress, pread);
  }
  return progress.status();
}

// Whether an error of looking the path up again means that it names something else now.
bool MeansGone(const absl::Status& status) {
  return absl::IsNotFound(status) || GetReason(status) == Reason::kPathOutsideRoot ||
         absl::IsInvalidArgument(status);
}

absl::Status PosixFile::CheckUnchanged() const {
  const auto fd = OpenBeneath(*root_, path_, O_PATH);
  if (!fd.ok()) {
    if (MeansGone(fd.status())) return ChangedError(path_, fd.status().message());
    return fd.status();
  }
  const auto facts = StatDescriptor(fd->get(), path_);
  if (!facts.ok()) {
    // ESTALE is how a network volume says that the file was replaced.
    if (absl::IsDataLoss(facts.status())) return ChangedError(path_, facts.status().message());
    return facts.status();
  }
  return CompareIdentity(path_, identity_, facts->identity);
}

absl::Status NotRegular(absl::string_view path) {
  return absl::InvalidArgumentError(absl::StrCat("open ", path, ": not a regular file"));
}

struct OpenDescriptor {
  UniqueFd fd;
  FileFacts facts;
};

// Opens a regular file without ever opening anything else: what the path names is looked at
// first, since opening a FIFO waits and opening a device can do things. O_NONBLOCK is for what
// takes its place in between; it must not stay, io_uring would answer EAGAIN.
absl::StatusOr<OpenDescriptor> OpenRegular(const VolumeRoot& root, absl::string_view path,
                                           uint64_t flags) {
  ASSIGN_OR_RETURN(const UniqueFd named, OpenBeneath(root, path, O_PATH));
  ASSIGN_OR_RETURN(const FileFacts named_facts, StatDescriptor(named.get(), path));
  if (!S_ISREG(named_facts.mode)) return NotRegular(path);

  OpenDescriptor opened;
  ASSIGN_OR_RETURN(opened.fd, OpenBeneath(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | flags));
  ASSIGN_OR_RETURN(opened.facts, StatDescriptor(opened.fd.get(), path));
  if (!S_ISREG(opened.facts.mode)) return NotRegular(path);
  const int status_flags = fcntl(opened.fd.get(), F_GETFL);
  if (status_flags < 0 || fcntl(opened.fd.get(), F_SETFL, status_flags & ~O_NONBLOCK) < 0) {
    return PosixError(errno, absl::StrCat("open ", path, ": clear O_NONBLOCK"));
  }
  return opened;
}

class PosixVolume final : public Volume {
 public:
  explicit PosixVolume(std::shared_ptr<const VolumeRoot> root) : root_(std::move(root)) {}

  const std::string& root() const override { return root_->path; }
  FileSystemKind file_system() const override {
    return KindOfFileSystem(FileSystemNumber(root_->fd.get()));
  }
  absl::StatusOr<std::vector<DirEntry>> List(absl::string_view directory) override;
  absl::StatusOr<std::shared_ptr<File>> Open(absl::string_view path) override;

 private:
  // The kind of a file or directory entry; nullopt for what List leaves out.
  std::optional<DirEntry::Kind> KindOf(absl::string_view directory, const dirent& entry) const;

  const std::shared_ptr<const VolumeRoot> root_;
};

std::optional<DirEntry::Kind> PosixVolume::KindOf(absl::string_view directory,
                                                  const dirent& entry) const {
  if (entry.d_type == DT_REG) return DirEntry::Kind::kFile;
  if (entry.d_type == DT_DIR) return DirEntry::Kind::kDirectory;
  if (entry.d_type != DT_LNK && entry.d_type != DT_UNKNOWN) return std::nullopt;
  const std::string path =
      directory.empty() ? std::string(entry.d_name) : absl::StrCat(directory, "/", entry.d_name);
  const auto fd = OpenBeneath(*root_, path, O_PATH);
  if (!fd.ok()) return std::nullopt;
  const auto facts = StatDescriptor(fd->get(), path);
  if (!facts.ok()) return std::nullopt;
  if (S_ISREG(facts->mode)) return DirEntry::Kind::kFile;
  if (S_ISDIR(facts->mode)) return DirEntry::Kind::kDirectory;
  return std::nullopt;
}

absl::StatusOr<std::vector<DirEntry>> PosixVolume::List(absl::string_view directory) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenBeneath(*root_, directory, O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(fd.get()), &closedir);
  if (stream == nullptr) return PosixError(errno, absl::StrCat("list ", directory));
  fd.release();  // closedir closes it

  std::vector<DirEntry> entries;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(stream.get());
    if (entry == nullptr) break;
    const absl::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    const auto kind = KindOf(directory, *entry);
    if (!kind.has_value()) continue;
    if (entries.size() == kDirectoryEntriesMax) {
      return ErrorWithReason(
          absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
          absl::StrCat("list ", directory, ": more than ", kDirectoryEntriesMax, " entries"));
    }
    entries.push_back({.name = std::string(name), .kind = *kind});
  }
  if (errno != 0) return PosixError(errno, absl::StrCat("list ", directory));
  std::sort(entries.begin(), entries.end(),
            [](const DirEntry& a, const DirEntry& b) { return a.name < b.name; });
  return entries;
}

absl::StatusOr<std::shared_ptr<File>> PosixVolume::Open(absl::string_view path) {
  for (int i = 0; i < kReplacedRetriesMax; ++i) {
    ASSIGN_OR_RETURN(OpenDescriptor buffered, OpenRegular(*root_, path, 0));
    auto direct = OpenRegular(*root_, path, O_DIRECT);
    if (absl::IsInvalidArgument(direct.status()) || absl::IsUnimplemented(direct.status())) {
      direct = OpenDescriptor();  // EINVAL, EOPNOTSUPP: the file system has no O_DIRECT
    }
    RETURN_IF_ERROR(direct.status());
    uint32_t direct_alignment = 0;
    if (direct->fd.valid()) {
      // Two descriptors of one path are of one file only if nobody replaced it in between.
      if (direct->facts.identity != buffered.facts.identity) continue;
      direct_alignment = direct->facts.direct_alignment;
    }
    if (direct_alignment == 0) direct->fd.reset();
    return std::make_shared<PosixFile>(root_, std::string(path), buffered.facts.identity,
                                       std::move(buffered.fd), std::move(direct->fd),
                                       direct_alignment);
  }
  return ErrorWithReason(absl::StatusCode::kAborted, Reason::kCheckpointChanged,
                         absl::StrCat("open ", path, ": it is being replaced or written"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Volume>> OpenVolume(const std::string& root) {
  auto opened = std::make_shared<VolumeRoot>();
  opened->path = root;
  opened->fd = UniqueFd(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!opened->fd.valid()) return PosixError(errno, absl::StrCat("open volume ", root));
  return std::make_unique<PosixVolume>(std::move(opened));
}

}  // namespace weightd
