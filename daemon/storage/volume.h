#ifndef WEIGHTD_DAEMON_STORAGE_VOLUME_H_
#define WEIGHTD_DAEMON_STORAGE_VOLUME_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "daemon/storage/file_system.h"
#include "daemon/storage/volume_work.h"

// Files below one root, opened so that nothing outside the root can be reached.
//
// Volume and File are thread-safe. A File outlives the Volume that opened it.

namespace weightd {

class DescriptorBudget;
class File;

// How a read goes: past the page cache, or through it.
enum class ReadMode { kDirect, kBuffered };

// What tells one content of a path from another, as statx(2) reports it.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size_bytes = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// The numbers of all volumes that the files lie on (mounts below a root, links).
std::set<uint64_t> VolumesOf(absl::Span<const FileIdentity> files);
std::set<uint64_t> VolumesOf(absl::Span<const std::shared_ptr<File>> files);

// Whether a buffered read of a range would be a copy out of the page cache.
struct CacheLook {
  bool cached = false;  // nearly all of it is there, or is assumed to be
  bool known = false;   // somebody looked; else it is assumed (page_cache.h)
};

// Keeps a file open for reads through its descriptors. Thread-compatible.
class FileUse {
 public:
  // Lets the descriptors go with the last use of the file.
  virtual ~FileUse() = default;

  // Whether File::descriptor() gives them. To be asked again after false: the file is being opened,
  // or waits for descriptors. Errors are final: those of Volume::Open, ABORTED/CHECKPOINT_CHANGED
  // where the path names another file now, RESOURCE_EXHAUSTED/LIMIT_EXCEEDED where no descriptor
  // came free in time, DEADLINE_EXCEEDED/VOLUME_STUCK. Never waits, unless the file is that of a
  // volume without threads (guarded_volume.h).
  virtual absl::StatusOr<bool> Ready() = 0;
};

// A file that was opened for reading. Its identity is that at opening.
//
// It has descriptors from its opening until the first use of it ends, and then while it is used: of
// a checkpoint of thousands of files only those have some that are read now.
class File {
 public:
  virtual ~File() = default;

  // Relative to the root, for messages.
  virtual const std::string& path() const = 0;
  // What the file itself is called in its directory, symlinks followed: stores that name content by
  // its hash do so. Empty where that is not known.
  virtual std::string real_name() const { return ""; }
  virtual const FileIdentity& identity() const = 0;

  // The multiple that offset, length and memory of a direct read must have (from STATX_DIOALIGN, or
  // 4096 where the kernel does not tell); 0 where direct reads are not possible.
  virtual uint32_t direct_alignment() const = 0;

  virtual FileSystemKind file_system() const = 0;

  // Descriptor for `mode`, owned by the file; -1 for a file that is not the kernel's (a double),
  // and while it is not open.
  virtual int descriptor(ReadMode mode) const = 0;

  // Wishes that the file be open: whoever gives it to a read queue holds one until the last read of
  // it has come back. Never waits.
  virtual std::unique_ptr<FileUse> Use() const;

  // Reads exactly `buffer.size()` bytes at `offset`, buffered and waiting: for headers and indexes.
  // DATA_LOSS/READ_FAILED for a range that passes the size at opening, DATA_LOSS/CHECKPOINT_CHANGED
  // when the file has become shorter since, else READ_FAILED with errno's code; the text has file
  // and offset. Where the file is not open, the errors of FileUse::Ready() too.
  virtual absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const = 0;

  // What the page cache holds of a range, now. Of a file that is not open nothing is known.
  virtual CacheLook LookInCache(uint64_t offset, uint64_t length) const = 0;

  // OK while the path still names this very file and its identity is that at opening. Else
  // ABORTED/CHECKPOINT_CHANGED with what differs.
  virtual absl::Status CheckUnchanged() const = 0;
};

struct DirEntry {
  enum class Kind { kFile, kDirectory };
  std::string name;
  Kind kind = Kind::kFile;  // of what a symlink leads to
  bool is_link = false;
};

// What a directory holds, sorted by name, without "." and "..". What is neither file nor directory,
// and symlinks that lead nowhere or out of the root, are left out.
struct DirListing {
  std::vector<DirEntry> entries;
  bool is_whole = true;  // else there are more than were to be looked at
  uint64_t device = 0;   // as in FileIdentity, of the directory itself
};

// What a path names, symlinks followed.
struct PathFacts {
  DirEntry::Kind kind = DirEntry::Kind::kFile;
  FileIdentity identity;
};

// One root. Paths are relative to it, without a leading slash; "" is the root itself.
class Volume {
 public:
  virtual ~Volume() = default;

  // The root as the operator wrote it, for messages.
  virtual const std::string& root() const = 0;

  virtual FileSystemKind file_system() const = 0;

  // Looks at `entries_max` entries at most, those that are left out too. NOT_FOUND without such a
  // directory.
  virtual absl::StatusOr<DirListing> List(absl::string_view directory, size_t entries_max) = 0;

  // Looks at a file or directory without opening it. Errors are those of Open() for a path that
  // cannot be followed and for what is neither.
  virtual absl::StatusOr<PathFacts> Stat(absl::string_view path) = 0;

  // Runs `work` where calls of this volume and its files wait for no thread: on one of the threads
  // of its root (guarded_volume.h), where it has some. For work of many calls. `work` may go on
  // after an error, so it owns all that it touches.
  virtual absl::Status RunNear(VolumeWork call, std::function<absl::Status(Volume&)> work) {
    static_cast<void>(call);
    return work(*this);
  }

  // Opens a regular file. Symlinks are followed while they stay below the root (a Hugging Face
  // cache is made of them); one that leaves it, an absolute path or ".." past the root is
  // PERMISSION_DENIED/PATH_OUTSIDE_ROOT. NOT_FOUND without such a file; for what is not a regular
  // file (a FIFO would block) INVALID_ARGUMENT/CHECKPOINT_INVALID; ABORTED/CHECKPOINT_CHANGED while
  // somebody writes or replaces it; RESOURCE_EXHAUSTED/LIMIT_EXCEEDED without a descriptor for it.
  virtual absl::StatusOr<std::shared_ptr<File>> Open(absl::string_view path) = 0;
};

// What `work` gives, made by RunNear().
template <typename T>
absl::StatusOr<T> CallNear(Volume& volume, VolumeWork call,
                           std::function<absl::StatusOr<T>()> work) {
  const auto result = std::make_shared<std::optional<absl::StatusOr<T>>>();
  const absl::Status ran =
      volume.RunNear(std::move(call), [result, work = std::move(work)](Volume&) {
        result->emplace(work());
        return absl::OkStatus();
      });
  if (!ran.ok()) return ran;
  return std::move(**result);
}

// A directory of this machine. NOT_FOUND or PERMISSION_DENIED when it cannot be opened. The
// descriptors of its files come out of `descriptors`; without one they are only the system's to
// refuse.
absl::StatusOr<std::unique_ptr<Volume>> OpenVolume(
    const std::string& root, std::shared_ptr<DescriptorBudget> descriptors = nullptr);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_VOLUME_H_
