#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/directory_reader.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/steady_time.h"
#include "common/volume_call.h"
#include "daemon/storage/descriptor_budget.h"
#include "daemon/storage/file_identity.h"
#include "daemon/storage/file_system.h"
#include "daemon/storage/open_beneath.h"
#include "daemon/storage/page_cache.h"
#include "daemon/storage/read_progress.h"
#include "daemon/storage/volume.h"
#include "daemon/storage/volume_threads.h"

namespace weightd {
namespace {

constexpr int kReplacedRetriesMax = 3;
constexpr uint32_t kReadAtRetriesMax = 8;
// How long whoever opens waits for others to close.
constexpr absl::Duration kDescriptorWaitMax = absl::Seconds(10);

// The descriptors of an open file. Immutable.
struct Descriptors {
  Descriptors() = default;
  Descriptors(Descriptors&&) = default;
  Descriptors& operator=(Descriptors&&) = default;
  ~Descriptors() {
    CloseFile(buffered);
    CloseFile(direct);
  }
  DescriptorBudget::Lease lease;  // first: it goes back when they are closed
  UniqueFd buffered;
  UniqueFd direct;  // none where direct reads are not possible
};

// What a file and its uses share. Thread-safe.
struct OpenState {
  OpenState(std::shared_ptr<const VolumeRoot> volume_root, std::string file_path,
            const FileIdentity& file_identity, uint32_t alignment)
      : root(std::move(volume_root)),
        path(std::move(file_path)),
        identity(file_identity),
        direct_alignment(alignment),
        lane{.volumes = {file_identity.device}, .uid = VolumeThreads::CurrentLane().uid} {}

  std::shared_ptr<const Descriptors> Get() ABSL_LOCKS_EXCLUDED(mu) {
    absl::MutexLock lock(&mu);
    return open;
  }

  const std::shared_ptr<const VolumeRoot> root;
  const std::string path;
  const FileIdentity identity;
  const uint32_t direct_alignment;
  const VolumeLane lane;  // of who opened it first

  absl::Mutex mu;
  std::shared_ptr<const Descriptors> open ABSL_GUARDED_BY(mu);
  uint32_t uses ABSL_GUARDED_BY(mu) = 0;
};

absl::StatusOr<Descriptors> Reopen(const OpenState& state, bool with_direct);

class PosixFileUse final : public FileUse {
 public:
  explicit PosixFileUse(std::shared_ptr<OpenState> state) : state_(std::move(state)) {}
  ~PosixFileUse() override {
    std::shared_ptr<const Descriptors> closed;  // after the lock
    absl::MutexLock lock(&state_->mu);
    if (ready_ && --state_->uses == 0) closed = std::exchange(state_->open, nullptr);
  }
  absl::StatusOr<bool> Ready() override;

 private:
  // Whether the file was open, and is used from here on.
  bool Join() {
    absl::MutexLock lock(&state_->mu);
    if (state_->open == nullptr) return false;
    ++state_->uses;
    return ready_ = true;
  }

  const std::shared_ptr<OpenState> state_;
  absl::Time first_asked_ = absl::InfiniteFuture();
  bool ready_ = false;
};

class PosixFile final : public File {
 public:
  PosixFile(std::shared_ptr<OpenState> state, std::string real_name, FileSystem file_system)
      : state_(std::move(state)), real_name_(std::move(real_name)), file_system_(file_system) {}

  const std::string& path() const override { return state_->path; }
  std::string real_name() const override { return real_name_; }
  const FileIdentity& identity() const override { return state_->identity; }
  uint32_t direct_alignment() const override { return state_->direct_alignment; }
  int descriptor(ReadMode mode) const override {
    const std::shared_ptr<const Descriptors> open = state_->Get();
    if (open == nullptr) return -1;
    return mode == ReadMode::kDirect ? open->direct.get() : open->buffered.get();
  }
  std::unique_ptr<FileUse> Use() const override { return std::make_unique<PosixFileUse>(state_); }
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const override;
  FileSystemKind file_system() const override { return file_system_.kind; }
  CacheLook LookInCache(uint64_t offset, uint64_t length) const override {
    const std::shared_ptr<const Descriptors> open = state_->Get();
    if (open == nullptr) return {};
    return LookInPageCache(open->buffered.get(), file_system_.number, offset, length);
  }
  absl::Status CheckUnchanged() const override;

 private:
  const std::shared_ptr<OpenState> state_;
  const std::string real_name_;
  const FileSystem file_system_;
};

absl::Status PosixFile::ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const {
  if (buffer.empty()) return absl::OkStatus();
  const uint64_t size_bytes = state_->identity.size_bytes;
  if (offset > size_bytes || buffer.size() > size_bytes - offset) {
    return ReadPastEndError(path(), offset, buffer.size(), size_bytes);
  }
  std::shared_ptr<const Descriptors> open = state_->Get();
  if (open == nullptr) {
    ASSIGN_OR_RETURN(Descriptors reopened, Reopen(*state_, /*with_direct=*/false));
    open = std::make_shared<const Descriptors>(std::move(reopened));
  }
  // Of `open`, which no use can close meanwhile.
  const bool may_hang = MayHang(file_system());
  const PreadFunction pread = [fd = open->buffered.get(), may_hang](int, void* to, size_t length,
                                                                    off_t at) {
    return may_hang ? VolumePread(fd, to, length, at) : ::pread(fd, to, length, at);
  };
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
  const auto fd = OpenBeneath(*state_->root, path(), O_PATH);
  if (!fd.ok()) {
    if (MeansGone(fd.status())) return ChangedError(path(), fd.status().message());
    return fd.status();
  }
  const auto facts = StatDescriptor(fd->get(), path());
  if (!facts.ok()) {
    // ESTALE is how a network volume says that the file was replaced.
    if (absl::IsDataLoss(facts.status())) return ChangedError(path(), facts.status().message());
    return facts.status();
  }
  return CompareIdentity(path(), identity(), facts->identity);
}

uint32_t DescriptorsWanted(uint32_t direct_alignment) { return direct_alignment > 0 ? 2 : 1; }

// Opens a file again, which must be the one that it was. The lease is the caller's to add.
absl::StatusOr<Descriptors> OpenAgain(const OpenState& state, bool with_direct) {
  Descriptors open;
  const auto open_one = [&](uint64_t flags, UniqueFd& to) {
    absl::StatusOr<OpenedFile> opened = OpenRegular(*state.root, state.path, flags);
    if (!opened.ok() && MeansGone(opened.status())) {
      return ChangedError(state.path, opened.status().message());
    }
    RETURN_IF_ERROR(opened.status());
    to = std::move(opened->fd);
    return CompareIdentity(state.path, state.identity, opened->facts.identity);
  };
  RETURN_IF_ERROR(open_one(0, open.buffered));
  if (with_direct && state.direct_alignment > 0) RETURN_IF_ERROR(open_one(O_DIRECT, open.direct));
  return open;
}

// Whose descriptors an open file is. What may touch anything below the root counts for that.
VolumeLane LaneOfDescriptors(const VolumeRoot& root) {
  VolumeLane lane = VolumeThreads::CurrentLane();
  if (lane.volumes.empty()) lane.volumes = {root.device};
  return lane;
}

absl::StatusOr<DescriptorBudget::Lease> TakeDescriptors(const VolumeRoot& root, uint32_t count,
                                                        absl::string_view path) {
  if (root.descriptors == nullptr) return DescriptorBudget::Lease();
  return root.descriptors->Take(count, LaneOfDescriptors(root), kDescriptorWaitMax,
                                absl::StrCat("open ", path));
}

absl::StatusOr<Descriptors> Reopen(const OpenState& state, bool with_direct) {
  const uint32_t count = with_direct ? DescriptorsWanted(state.direct_alignment) : 1;
  ASSIGN_OR_RETURN(DescriptorBudget::Lease lease, TakeDescriptors(*state.root, count, state.path));
  ASSIGN_OR_RETURN(Descriptors open, OpenAgain(state, with_direct));
  open.lease = std::move(lease);
  return open;
}

// Does not wait for descriptors: the thread that opens may be one that others need for closing.
absl::StatusOr<bool> PosixFileUse::Ready() {
  if (ready_ || Join()) return true;
  DescriptorBudget* const budget = state_->root->descriptors.get();
  DescriptorBudget::Lease lease;
  if (budget != nullptr) {
    const uint32_t count = DescriptorsWanted(state_->direct_alignment);
    // Of those whose file it is, or of those that are nobody's: others may have joined him.
    std::optional<DescriptorBudget::Lease> taken = budget->TryTake(count, state_->lane);
    if (!taken.has_value()) taken = budget->TryTake(count, {.volumes = state_->lane.volumes});
    first_asked_ = std::min(first_asked_, SteadyNow());
    if (!taken.has_value()) {
      if (SteadyNow() - first_asked_ < kDescriptorWaitMax) return false;
      return budget->RefusalFor(count, absl::StrCat("open ", state_->path));
    }
    lease = *std::move(taken);
  }
  ASSIGN_OR_RETURN(Descriptors open, OpenAgain(*state_, /*with_direct=*/true));
  open.lease = std::move(lease);
  auto opened = std::make_shared<const Descriptors>(std::move(open));
  absl::MutexLock lock(&state_->mu);
  if (state_->open == nullptr) state_->open.swap(opened);  // else another use was faster
  ++state_->uses;
  return ready_ = true;
}

class PosixVolume final : public Volume {
 public:
  explicit PosixVolume(std::shared_ptr<const VolumeRoot> root) : root_(std::move(root)) {}

  const std::string& root() const override { return root_->path; }
  FileSystemKind file_system() const override {
    return KindOfFileSystem(FileSystemNumber(root_->fd.get()));
  }
  absl::StatusOr<DirListing> List(absl::string_view directory, size_t entries_max) override;
  absl::StatusOr<PathFacts> Stat(absl::string_view path) override;
  absl::StatusOr<std::shared_ptr<File>> Open(absl::string_view path) override;

 private:
  // The kind of a file or directory entry; nullopt for what List leaves out.
  std::optional<DirEntry::Kind> KindOf(absl::string_view directory, absl::string_view name,
                                       uint8_t type) const;

  const std::shared_ptr<const VolumeRoot> root_;
};

std::optional<DirEntry::Kind> PosixVolume::KindOf(absl::string_view directory,
                                                  absl::string_view name, uint8_t type) const {
  if (type == DT_REG) return DirEntry::Kind::kFile;
  if (type == DT_DIR) return DirEntry::Kind::kDirectory;
  if (type != DT_LNK && type != DT_UNKNOWN) return std::nullopt;
  const std::string path =
      directory.empty() ? std::string(name) : absl::StrCat(directory, "/", name);
  const auto fd = OpenBeneath(*root_, path, O_PATH);
  if (!fd.ok()) return std::nullopt;
  const auto facts = StatDescriptor(fd->get(), path);
  if (!facts.ok()) return std::nullopt;
  if (S_ISREG(facts->mode)) return DirEntry::Kind::kFile;
  if (S_ISDIR(facts->mode)) return DirEntry::Kind::kDirectory;
  return std::nullopt;
}

absl::StatusOr<DirListing> PosixVolume::List(absl::string_view directory, size_t entries_max) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenBeneath(*root_, directory, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(const FileFacts facts, StatDescriptor(fd.get(), directory));
  DirListing listing;
  listing.device = facts.identity.device;
  std::vector<DirEntry>& entries = listing.entries;
  size_t looked_at = 0;
  DirectoryReader reader(fd.get());
  while (const dirent64* entry = reader.Next()) {
    const absl::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (looked_at++ == entries_max) {
      listing.is_whole = false;
      break;
    }
    const auto kind = KindOf(directory, name, entry->d_type);
    if (!kind.has_value()) continue;
    entries.push_back({.name = std::string(name),
                       .kind = *kind,
                       .is_link = entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN});
  }
  if (reader.error() != 0) return PosixError(reader.error(), absl::StrCat("list ", directory));
  std::sort(entries.begin(), entries.end(),
            [](const DirEntry& a, const DirEntry& b) { return a.name < b.name; });
  return listing;
}

absl::StatusOr<PathFacts> PosixVolume::Stat(absl::string_view path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenBeneath(*root_, path, O_PATH));
  ASSIGN_OR_RETURN(const FileFacts facts, StatDescriptor(fd.get(), path));
  if (!S_ISREG(facts.mode) && !S_ISDIR(facts.mode)) return NotRegularError(path, facts.mode);
  return PathFacts{.kind = S_ISDIR(facts.mode) ? DirEntry::Kind::kDirectory : DirEntry::Kind::kFile,
                   .identity = facts.identity};
}

absl::StatusOr<std::shared_ptr<File>> PosixVolume::Open(absl::string_view path) {
  ASSIGN_OR_RETURN(DescriptorBudget::Lease lease, TakeDescriptors(*root_, 2, path));
  for (int i = 0; i < kReplacedRetriesMax; ++i) {
    ASSIGN_OR_RETURN(OpenedFile buffered, OpenRegular(*root_, path, 0));
    auto direct = OpenRegular(*root_, path, O_DIRECT);
    if (absl::IsInvalidArgument(direct.status()) || absl::IsUnimplemented(direct.status())) {
      direct = OpenedFile();  // EINVAL, EOPNOTSUPP: the file system has no O_DIRECT
    }
    RETURN_IF_ERROR(direct.status());
    uint32_t direct_alignment = 0;
    if (direct->fd.valid()) {
      // Two descriptors of one path are of one file only if nobody replaced it in between.
      if (direct->facts.identity != buffered.facts.identity) continue;
      direct_alignment = direct->facts.direct_alignment;
    }
    if (direct_alignment == 0) CloseFile(direct->fd);
    auto state = std::make_shared<OpenState>(root_, std::string(path), buffered.facts.identity,
                                             direct_alignment);
    const int fd = buffered.fd.get();
    auto file = std::make_shared<PosixFile>(state, RealNameOf(fd),
                                            FileSystemOf(fd, state->identity.device));
    Descriptors open;
    open.lease = std::move(lease);
    open.buffered = std::move(buffered.fd);
    open.direct = std::move(direct->fd);
    absl::MutexLock lock(&state->mu);
    state->open = std::make_shared<const Descriptors>(std::move(open));
    return file;
  }
  return ErrorWithReason(absl::StatusCode::kAborted, Reason::kCheckpointChanged,
                         absl::StrCat("open ", path, ": it is being replaced or written"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Volume>> OpenVolume(const std::string& root,
                                                   std::shared_ptr<DescriptorBudget> descriptors) {
  auto opened = std::make_shared<VolumeRoot>();
  opened->path = root;
  opened->descriptors = std::move(descriptors);
  opened->fd = UniqueFd(
      static_cast<int>(VolumeCall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(root.c_str()),
                                  O_PATH | O_DIRECTORY | O_CLOEXEC)));
  if (!opened->fd.valid()) return PosixError(errno, absl::StrCat("open volume ", root));
  ASSIGN_OR_RETURN(const FileFacts facts, StatDescriptor(opened->fd.get(), root));
  opened->device = facts.identity.device;
  return std::make_unique<PosixVolume>(std::move(opened));
}

}  // namespace weightd
