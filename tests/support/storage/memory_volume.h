#ifndef WEIGHTD_TESTS_SUPPORT_STORAGE_MEMORY_VOLUME_H_
#define WEIGHTD_TESTS_SUPPORT_STORAGE_MEMORY_VOLUME_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "daemon/storage/volume.h"

namespace weightd::testing {

// What a path of a MemoryVolume leads to. Bytes are kept sparsely: what no extent holds is zero.
struct MemoryNode {
  enum class Kind { kFile, kDirectory, kSymlink, kFifo };
  Kind kind = Kind::kFile;
  std::string target;  // of a symlink
  FileIdentity identity;
  std::map<uint64_t, std::string> extents;  // by offset; the later written wins, none overlap
  std::map<uint64_t, uint64_t> cached;      // ranges in the page cache: begin, end
  bool unreadable = false;
  int read_error = 0;
};

// The nodes of one volume, shared with its open files. Thread-safe by its lock.
struct MemoryTree {
  absl::Mutex mu;
  std::map<std::string, std::shared_ptr<MemoryNode>> nodes ABSL_GUARDED_BY(mu);
  uint64_t next_inode ABSL_GUARDED_BY(mu) = 2;
  int64_t now_ns ABSL_GUARDED_BY(mu) = 1'700'000'000'000'000'000;
};

// A file of a MemoryVolume. Thread-safe.
class MemoryFile final : public File {
 public:
  MemoryFile(std::shared_ptr<MemoryTree> tree, std::shared_ptr<MemoryNode> node, std::string path,
             std::string real_name, FileIdentity identity, uint32_t direct_alignment)
      : tree_(std::move(tree)),
        node_(std::move(node)),
        path_(std::move(path)),
        real_name_(std::move(real_name)),
        identity_(identity),
        direct_alignment_(direct_alignment) {}

  const std::string& path() const override { return path_; }
  std::string real_name() const override { return real_name_; }
  const FileIdentity& identity() const override { return identity_; }
  uint32_t direct_alignment() const override { return direct_alignment_; }
  int descriptor(ReadMode /*mode*/) const override { return -1; }
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const override;
  FileSystemKind file_system() const override { return FileSystemKind::kLocal; }
  CacheLook LookInCache(uint64_t offset, uint64_t length) const override;
  absl::Status CheckUnchanged() const override;

  // As pread(2): bytes, 0 at the end, -errno.
  int64_t Pread(uint64_t offset, absl::Span<std::byte> buffer) const;

 private:
  const std::shared_ptr<MemoryTree> tree_;
  const std::shared_ptr<MemoryNode> node_;
  const std::string path_;
  const std::string real_name_;
  const FileIdentity identity_;
  const uint32_t direct_alignment_;
};

// A Volume in memory that behaves as a directory of the kernel's does: symlinks, replaced files
// (a new inode; who has the old one open still reads it), truncation under a reader. Parents of a
// path are made on the way. Thread-safe.
//
// Files have no descriptor: they are read with ReadAt and MemoryReadQueue.
class MemoryVolume final : public Volume {
 public:
  // `direct_alignment` 0 is a volume without direct reads, as tmpfs is.
  explicit MemoryVolume(uint32_t direct_alignment = 512, std::string root = "/memory");

  const std::string& root() const override { return root_; }
  FileSystemKind file_system() const override { return FileSystemKind::kLocal; }
  absl::StatusOr<DirListing> List(absl::string_view directory, size_t entries_max) override;
  absl::StatusOr<PathFacts> Stat(absl::string_view path) override;
  absl::StatusOr<std::shared_ptr<File>> Open(absl::string_view path) override;

  // What another process does to the directory. The path is taken as it is, no symlink is followed;
  // what changes a file needs the file to be there.
  void AddFile(const std::string& path, std::string bytes);  // replaces what is there
  void AddDirectory(const std::string& path);
  void AddSymlink(const std::string& path, const std::string& target);
  void AddFifo(const std::string& path);
  void Remove(const std::string& path);
  void Write(const std::string& path, uint64_t offset, std::string bytes);  // in place, may extend
  void Truncate(const std::string& path, uint64_t size_bytes);              // or extend with zeros
  void Touch(const std::string& path);
  void MakeUnreadable(const std::string& path);        // Open is PERMISSION_DENIED
  void FailReads(const std::string& path, int error);  // of open files too; 0 heals
  // As another reader of the range does. What is not cached so is known not to be.
  void Cache(const std::string& path, uint64_t offset, uint64_t length);

 private:
  using NodePtr = std::shared_ptr<MemoryNode>;
  void Insert(const std::string& path, MemoryNode node);
  MemoryNode& At(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(tree_->mu);

  const std::shared_ptr<MemoryTree> tree_;
  const uint32_t direct_alignment_;
  const std::string root_;
};

// Follows `path` and its symlinks; the result is the name of what it leads to and that itself.
absl::StatusOr<std::pair<std::string, std::shared_ptr<MemoryNode>>> ResolveInMemory(
    const MemoryTree& tree, absl::string_view path) ABSL_SHARED_LOCKS_REQUIRED(tree.mu);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_STORAGE_MEMORY_VOLUME_H_
