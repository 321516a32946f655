#include "daemon/storage/guarded_volume.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/steady_time.h"

namespace weightd {
namespace {

// How long a use that could not get descriptors leaves the threads alone.
constexpr absl::Duration kRetryPause = absl::Milliseconds(5);

// Of a call that touches `file`.
VolumeWork CallOf(absl::string_view verb, const File& file, absl::string_view rest = "") {
  return VolumeWork(absl::StrCat(verb, " ", file.path(), rest), {file.identity().device});
}

// Where `file` is closed: among those of its volume that the same user opened.
VolumeLane ClosingLane(const File& file) {
  return {.volumes = {file.identity().device}, .uid = VolumeThreads::CurrentLane().uid};
}

// Lets `object`, which holds a file, go on a thread of its root: closing it may wait for the
// volume.
template <typename T>
void DisposeOf(VolumeThreads& threads, const VolumeLane& lane, T object) {
  if (threads.IsOwnThread()) return;  // `object` goes here
  threads.Dispose(lane, [held = std::make_shared<T>(std::move(object))] {});
}

// Asks the raw use on the threads, and knows what it said last.
class GuardedUse final : public FileUse {
 public:
  GuardedUse(std::shared_ptr<const File> raw, std::shared_ptr<VolumeThreads> threads,
             VolumeLane lane)
      : shared_(std::make_shared<Shared>()), threads_(std::move(threads)), lane_(std::move(lane)) {
    shared_->raw = std::move(raw);
    shared_->use = shared_->raw->Use();
  }
  ~GuardedUse() override { DisposeOf(*threads_, lane_, std::move(shared_)); }

  absl::StatusOr<bool> Ready() override {
    {
      absl::MutexLock lock(&shared_->mu);
      if (shared_->answer.has_value()) {
        if (!shared_->answer->ok() || **shared_->answer) return *shared_->answer;
        if (SteadyNow() < retry_at_) return false;
      } else if (asking_) {
        if (SteadyNow() - asked_at_ < threads_->stall_timeout()) return false;
        return Late();
      }
      shared_->answer.reset();
    }
    if (threads_->IsOwnThread()) {
      VolumeThreads::Beat(Opening().what);
      return shared_->use->Ready();
    }
    asking_ = true;
    asked_at_ = SteadyNow();
    retry_at_ = asked_at_ + kRetryPause;
    RETURN_IF_ERROR(threads_->Submit(Opening(), [shared = shared_] {
      absl::StatusOr<bool> answer = shared->use->Ready();
      absl::MutexLock lock(&shared->mu);
      shared->answer = std::move(answer);
    }));
    return false;
  }

 private:
  // Shared with the call that goes on: what it opens is closed when both have let it go.
  struct Shared {
    std::shared_ptr<const File> raw;
    std::unique_ptr<FileUse> use;  // of the call, while there is one
    absl::Mutex mu;
    std::optional<absl::StatusOr<bool>> answer ABSL_GUARDED_BY(mu);
  };

  VolumeWork Opening() const { return CallOf("open", *shared_->raw); }
  absl::Status Late() const {
    return ErrorWithReason(
        absl::StatusCode::kDeadlineExceeded, Reason::kVolumeStuck,
        absl::StrCat("root ", threads_->root(), ": ", Opening().what, " was not answered within ",
                     absl::FormatDuration(threads_->stall_timeout()),
                     " (storage.stall_timeout_ms); the volume hangs, and the call is abandoned"));
  }

  std::shared_ptr<Shared> shared_;
  const std::shared_ptr<VolumeThreads> threads_;
  const VolumeLane lane_;
  bool asking_ = false;
  absl::Time asked_at_;
  absl::Time retry_at_;
};

class GuardedFile final : public File {
 public:
  GuardedFile(std::shared_ptr<const File> raw, std::shared_ptr<VolumeThreads> threads)
      : raw_(std::move(raw)), threads_(std::move(threads)), lane_(ClosingLane(*raw_)) {}
  ~GuardedFile() override { DisposeOf(*threads_, lane_, std::move(raw_)); }

  const std::string& path() const override { return raw_->path(); }
  std::string real_name() const override { return raw_->real_name(); }
  const FileIdentity& identity() const override { return raw_->identity(); }
  uint32_t direct_alignment() const override { return raw_->direct_alignment(); }
  FileSystemKind file_system() const override { return raw_->file_system(); }
  int descriptor(ReadMode mode) const override { return raw_->descriptor(mode); }
  // Looks at the kernel's memory alone, so it is no call of the volume.
  CacheLook LookInCache(uint64_t offset, uint64_t length) const override {
    return raw_->LookInCache(offset, length);
  }
  std::unique_ptr<FileUse> Use() const override {
    return std::make_unique<GuardedUse>(raw_, threads_, lane_);
  }

  // Into memory of its own: the caller's may be gone when a late read comes back.
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const override {
    if (threads_->IsOwnThread()) {
      VolumeThreads::Beat(absl::StrCat("read ", path(), " at ", offset));
      return raw_->ReadAt(offset, buffer);
    }
    using Bytes = std::vector<std::byte>;
    ASSIGN_OR_RETURN(const Bytes bytes,
                     threads_->Call<Bytes>(
                         CallOf("read", *raw_, absl::StrCat(" at ", offset)),
                         [raw = raw_, offset, length = buffer.size()]() -> absl::StatusOr<Bytes> {
                           Bytes read(length);
                           RETURN_IF_ERROR(raw->ReadAt(offset, absl::MakeSpan(read)));
                           return read;
                         }));
    if (!bytes.empty()) std::memcpy(buffer.data(), bytes.data(), bytes.size());
    return absl::OkStatus();
  }

  absl::Status CheckUnchanged() const override {
    return threads_
        ->Call<bool>(CallOf("stat", *raw_),
                     [raw = raw_]() -> absl::StatusOr<bool> {
                       RETURN_IF_ERROR(raw->CheckUnchanged());
                       return true;
                     })
        .status();
  }

 private:
  std::shared_ptr<const File> raw_;
  const std::shared_ptr<VolumeThreads> threads_;
  const VolumeLane lane_;
};

}  // namespace

absl::StatusOr<DirListing> GuardedVolume::List(absl::string_view directory, size_t entries_max) {
  return threads_->Call<DirListing>(
      absl::StrCat("list ", directory.empty() ? "the root" : directory),
      [raw = raw_, path = std::string(directory), entries_max] {
        return raw->List(path, entries_max);
      });
}

absl::StatusOr<PathFacts> GuardedVolume::Stat(absl::string_view path) {
  return threads_->Call<PathFacts>(
      absl::StrCat("stat ", path),
      [raw = raw_, path = std::string(path)] { return raw->Stat(path); });
}

absl::Status GuardedVolume::RunNear(VolumeWork call, std::function<absl::Status(Volume&)> work) {
  const auto run = [self = shared_from_this(), work = std::move(work)]() -> absl::StatusOr<bool> {
    RETURN_IF_ERROR(work(*self));
    return true;
  };
  return threads_->Call<bool>(std::move(call), run).status();
}

absl::StatusOr<std::shared_ptr<File>> GuardedVolume::Open(absl::string_view path) {
  using FilePtr = std::shared_ptr<File>;
  return threads_->Call<FilePtr>(
      absl::StrCat("open ", path),
      [raw = raw_, threads = threads_, path = std::string(path)]() -> absl::StatusOr<FilePtr> {
        ASSIGN_OR_RETURN(FilePtr file, raw->Open(path));
        return std::make_shared<GuardedFile>(std::move(file), threads);
      });
}

}  // namespace weightd
