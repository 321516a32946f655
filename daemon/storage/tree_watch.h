#ifndef WEIGHTD_DAEMON_STORAGE_TREE_WATCH_H_
#define WEIGHTD_DAEMON_STORAGE_TREE_WATCH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/storage/file_system.h"

namespace weightd {

struct TreeWatchOptions {
  uint32_t depth_max = 8;  // directories below the root
  uint32_t directories_max =
      8192;  // that are watched; inotify(7) takes about 1 KiB of the kernel each
};

// Hints from the kernel (inotify(7)) that something below a root changed: names that came or went,
// files that were closed after writing. A hint says where to look, not what there is; what is
// written through a mapping, or on another machine, gives none.
//
// Thread-compatible.
class TreeWatch {
 public:
  // The text of an error says why the kernel does not tell, for an operator: UNIMPLEMENTED for a
  // volume that others write to over a network, RESOURCE_EXHAUSTED at a limit.
  static absl::StatusOr<std::unique_ptr<TreeWatch>> Create(const std::string& root,
                                                           FileSystemKind kind,
                                                           const TreeWatchOptions& options);

  // poll(2) shows it readable when Take() has something.
  int descriptor() const { return fd_.get(); }

  // Takes the hints that are there: whether there was one. Directories that came are watched from
  // here on, and are a hint themselves. Errors as Create(): from then on it is of no use.
  absl::StatusOr<bool> Take();

 private:
  struct Directory {
    std::string path;
    uint32_t depth = 0;  // of the root: 0
  };

  TreeWatch(UniqueFd fd, const TreeWatchOptions& options) : options_(options), fd_(std::move(fd)) {}
  // Watches a directory and all below it.
  absl::Status Add(const std::string& path, uint32_t depth);
  absl::Status AddOne(const std::string& path, uint32_t depth);

  const TreeWatchOptions options_;
  const UniqueFd fd_;
  std::unordered_map<int, Directory> directories_;  // by watch descriptor
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_TREE_WATCH_H_
