#include "daemon/storage/tree_watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/directory_reader.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_call.h"

namespace weightd {
namespace {

constexpr uint32_t kEvents = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE |
                             IN_DELETE_SELF | IN_ATTRIB;
// Of one directory, files included.
constexpr size_t kEntriesMax = 1'000'000;
constexpr size_t kBufferBytes = size_t{64} * 1024;

absl::Status WatchError(int error, const std::string& path) {
  if (error == ENOSPC) {
    return absl::ResourceExhaustedError(
        "no more inotify watches for this user; raise fs.inotify.max_user_watches");
  }
  return PosixError(error, absl::StrCat("watch ", path));
}

// The names of the directories in `path`; symlinks are not followed: what is below the root is
// watched where it is. A mount below the root may hang: all calls are VolumeCall()s. It may also
// have no end: no more than `max` names and one, and none beyond kEntriesMax entries.
std::vector<std::string> DirectoriesIn(const std::string& path, size_t max) {
  std::vector<std::string> names;
  const auto fd =
      static_cast<int>(VolumeCall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path.c_str()),
                                  O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd < 0) return names;
  DirectoryReader reader(fd);
  for (size_t i = 0; i < kEntriesMax && names.size() <= max; ++i) {
    const dirent64* const entry = reader.Next();
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name != "." && name != ".." && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)) {
      names.push_back(name);
    }
  }
  VolumeClose(fd);
  return names;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TreeWatch>> TreeWatch::Create(const std::string& root,
                                                             FileSystemKind kind,
                                                             const TreeWatchOptions& options) {
  if (kind != FileSystemKind::kLocal) {
    return absl::UnimplementedError(
        kind == FileSystemKind::kFuse
            ? "a FUSE volume: the kernel does not tell what its server changes"
            : "a network volume: the kernel does not tell what other machines write");
  }
  UniqueFd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd.valid()) {
    if (errno == EMFILE) {
      return absl::ResourceExhaustedError(
          "no more inotify instances for this user; raise fs.inotify.max_user_instances");
    }
    return PosixError(errno, "inotify_init1");
  }
  std::unique_ptr<TreeWatch> watch(new TreeWatch(std::move(fd), options));
  // The root itself must be there; what is below it may come and go.
  RETURN_IF_ERROR(watch->AddOne(root, 0));
  RETURN_IF_ERROR(watch->Add(root, 0));
  return watch;
}

absl::Status TreeWatch::AddOne(const std::string& path, uint32_t depth) {
  const uint32_t follow = depth == 0 ? 0 : IN_DONT_FOLLOW;
  const auto id = static_cast<int>(VolumeCall(SYS_inotify_add_watch, fd_.get(),
                                              reinterpret_cast<long>(path.c_str()),
                                              kEvents | IN_ONLYDIR | IN_EXCL_UNLINK | follow));
  if (id < 0) return WatchError(errno, path);
  directories_[id] = {.path = path, .depth = depth};
  if (directories_.size() > options_.directories_max) {
    return absl::ResourceExhaustedError(absl::StrCat("more than ", options_.directories_max,
                                                     " directories, which is what is watched"));
  }
  return absl::OkStatus();
}

// First the watch, then the look: what comes in between is seen by one of them.
absl::Status TreeWatch::Add(const std::string& path, uint32_t depth) {
  if (absl::Status added = AddOne(path, depth); !added.ok()) {
    // Gone again, not a directory, or not ours to read: the catalog passes over it too.
    return absl::IsResourceExhausted(added) ? added : absl::OkStatus();
  }
  if (depth == options_.depth_max) return absl::OkStatus();
  for (const std::string& name : DirectoriesIn(path, options_.directories_max)) {
    RETURN_IF_ERROR(Add(absl::StrCat(path, "/", name), depth + 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> TreeWatch::Take() {
  bool any = false;
  alignas(inotify_event) std::array<char, kBufferBytes> buffer;
  while (true) {
    const ssize_t count = ::read(fd_.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return any;
    if (count <= 0) return PosixError(errno, "read inotify");
    any = true;
    for (ssize_t offset = 0; offset < count;) {
      inotify_event event;
      std::memcpy(&event, buffer.data() + offset, sizeof(event));
      const char* name = buffer.data() + offset + sizeof(event);
      offset += static_cast<ssize_t>(sizeof(event) + event.len);
      const auto found = directories_.find(event.wd);
      if (found == directories_.end()) continue;
      if ((event.mask & IN_IGNORED) != 0) {
        directories_.erase(found);
        continue;
      }
      const Directory parent = found->second;
      const bool came = (event.mask & (IN_CREATE | IN_MOVED_TO)) != 0;
      if (came && (event.mask & IN_ISDIR) != 0 && parent.depth < options_.depth_max) {
        RETURN_IF_ERROR(Add(absl::StrCat(parent.path, "/", name), parent.depth + 1));
      }
    }
  }
}

}  // namespace weightd
