#include "tests/support/storage/memory_volume.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/storage/file_identity.h"

namespace weightd::testing {
namespace {

absl::Status NotRegular(absl::string_view what) {
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kCheckpointInvalid,
                         absl::StrCat(what, ": not a regular file"));
}

constexpr int kSymlinksMax = 40;

absl::Status OutsideRoot(absl::string_view path) {
  return ErrorWithReason(absl::StatusCode::kPermissionDenied, Reason::kPathOutsideRoot,
                         absl::StrCat("open ", path, ": leads out of the memory volume"));
}

// The components of a path, last one first.
std::vector<std::string> ReversedComponents(absl::string_view path) {
  std::vector<std::string> components = absl::StrSplit(path, '/', absl::SkipEmpty());
  std::reverse(components.begin(), components.end());
  return components;
}

void EraseBytes(MemoryNode& node, uint64_t begin, uint64_t end) {
  std::map<uint64_t, std::string> kept;
  for (auto& [offset, bytes] : node.extents) {
    const uint64_t extent_end = offset + bytes.size();
    if (offset < begin) kept[offset] = bytes.substr(0, std::min(extent_end, begin) - offset);
    if (extent_end > end) {
      const uint64_t from = std::max(offset, end);
      kept[from] = bytes.substr(from - offset);
    }
  }
  node.extents = std::move(kept);
}

}  // namespace

absl::StatusOr<std::pair<std::string, std::shared_ptr<MemoryNode>>> ResolveInMemory(
    const MemoryTree& tree, absl::string_view path) {
  if (!path.empty() && path[0] == '/') return OutsideRoot(path);
  std::vector<std::string> rest = ReversedComponents(path);
  std::vector<std::string> done;
  std::shared_ptr<MemoryNode> node = tree.nodes.at("");
  int symlinks_count = 0;
  while (!rest.empty()) {
    const std::string name = rest.back();
    rest.pop_back();
    if (node->kind != MemoryNode::Kind::kDirectory) return PosixError(ENOTDIR, path);
    if (name == ".") continue;
    if (name == "..") {
      if (done.empty()) return OutsideRoot(path);
      done.pop_back();
      node = tree.nodes.at(absl::StrJoin(done, "/"));
      continue;
    }
    done.push_back(name);
    const auto found = tree.nodes.find(absl::StrJoin(done, "/"));
    if (found == tree.nodes.end()) return PosixError(ENOENT, absl::StrCat("open ", path));
    if (found->second->kind != MemoryNode::Kind::kSymlink) {
      node = found->second;
      continue;
    }
    const std::string& target = found->second->target;
    if (++symlinks_count > kSymlinksMax) {
      return absl::InvalidArgumentError(absl::StrCat("open ", path, ": symlinks in a circle"));
    }
    if (target[0] == '/') return OutsideRoot(path);
    done.pop_back();
    for (std::string& component : ReversedComponents(target)) rest.push_back(std::move(component));
  }
  return std::make_pair(absl::StrJoin(done, "/"), node);
}

absl::Status MemoryFile::ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const {
  if (buffer.empty()) return absl::OkStatus();
  if (offset > identity_.size_bytes || buffer.size() > identity_.size_bytes - offset) {
    return ReadPastEndError(path_, offset, buffer.size(), identity_.size_bytes);
  }
  const int64_t result = Pread(offset, buffer);
  if (result < 0) return ReadError(static_cast<int>(-result), path_, offset);
  if (static_cast<uint64_t>(result) < buffer.size()) {
    return ErrorWithReason(absl::StatusCode::kDataLoss, Reason::kCheckpointChanged,
                           absl::StrCat("read ", path_, " at ", offset, ": file ends after ",
                                        result, " of ", buffer.size(), " bytes"));
  }
  return absl::OkStatus();
}

absl::Status MemoryFile::CheckUnchanged() const {
  absl::MutexLock lock(&tree_->mu);
  const auto found = ResolveInMemory(*tree_, path_);
  if (!found.ok()) return ChangedError(path_, found.status().message());
  return CompareIdentity(path_, identity_, found->second->identity);
}

CacheLook MemoryFile::LookInCache(uint64_t offset, uint64_t length) const {
  absl::MutexLock lock(&tree_->mu);
  const bool cached = std::any_of(
      node_->cached.begin(), node_->cached.end(),
      [&](const auto& range) { return range.first <= offset && offset + length <= range.second; });
  return {.cached = cached, .known = true};
}

int64_t MemoryFile::Pread(uint64_t offset, absl::Span<std::byte> buffer) const {
  absl::MutexLock lock(&tree_->mu);
  if (node_->read_error != 0) return -node_->read_error;
  const uint64_t size_bytes = node_->identity.size_bytes;
  if (offset >= size_bytes) return 0;
  const uint64_t end = offset + std::min<uint64_t>(buffer.size(), size_bytes - offset);
  std::memset(buffer.data(), 0, end - offset);
  for (const auto& [at, bytes] : node_->extents) {
    const uint64_t from = std::max(at, offset);
    const uint64_t to = std::min(at + bytes.size(), end);
    if (from < to)
      std::memcpy(buffer.data() + (from - offset), bytes.data() + (from - at), to - from);
  }
  return static_cast<int64_t>(end - offset);
}

MemoryVolume::MemoryVolume(uint32_t direct_alignment, std::string root)
    : tree_(std::make_shared<MemoryTree>()),
      direct_alignment_(direct_alignment),
      root_(std::move(root)) {
  absl::MutexLock lock(&tree_->mu);
  tree_->nodes[""] = std::make_shared<MemoryNode>();
  tree_->nodes[""]->kind = MemoryNode::Kind::kDirectory;
  tree_->nodes[""]->identity = {.device = 1, .inode = 1};
}

absl::StatusOr<DirListing> MemoryVolume::List(absl::string_view directory, size_t entries_max) {
  absl::MutexLock lock(&tree_->mu);
  ASSIGN_OR_RETURN(const auto found, ResolveInMemory(*tree_, directory));
  if (found.second->kind != MemoryNode::Kind::kDirectory) {
    return PosixError(ENOTDIR, absl::StrCat("list ", directory));
  }
  const std::string prefix = found.first.empty() ? "" : absl::StrCat(found.first, "/");
  DirListing listing;
  listing.device = found.second->identity.device;
  std::vector<DirEntry>& entries = listing.entries;
  size_t looked_at = 0;
  for (const auto& [path, node] : tree_->nodes) {
    if (path.size() <= prefix.size() || path.compare(0, prefix.size(), prefix) != 0) continue;
    const std::string name = path.substr(prefix.size());
    if (name.find('/') != std::string::npos) continue;
    if (looked_at++ == entries_max) {
      listing.is_whole = false;
      break;
    }
    const auto entry = ResolveInMemory(*tree_, path);
    if (!entry.ok()) continue;
    const bool is_link = node->kind == MemoryNode::Kind::kSymlink;
    if (entry->second->kind == MemoryNode::Kind::kFile) {
      entries.push_back({.name = name, .kind = DirEntry::Kind::kFile, .is_link = is_link});
    } else if (entry->second->kind == MemoryNode::Kind::kDirectory) {
      entries.push_back({.name = name, .kind = DirEntry::Kind::kDirectory, .is_link = is_link});
    }
  }
  return listing;
}

absl::StatusOr<PathFacts> MemoryVolume::Stat(absl::string_view path) {
  if (path.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError("stat: the path contains a NUL byte");
  }
  absl::MutexLock lock(&tree_->mu);
  ASSIGN_OR_RETURN(const auto found, ResolveInMemory(*tree_, path));
  if (found.second->kind == MemoryNode::Kind::kFifo) {
    return NotRegular(absl::StrCat("stat ", path));
  }
  if (found.second->kind == MemoryNode::Kind::kFile && !path.empty() && path.back() == '/') {
    return PosixError(ENOTDIR, absl::StrCat("stat ", path));
  }
  return PathFacts{.kind = found.second->kind == MemoryNode::Kind::kDirectory
                               ? DirEntry::Kind::kDirectory
                               : DirEntry::Kind::kFile,
                   .identity = found.second->identity};
}

absl::StatusOr<std::shared_ptr<File>> MemoryVolume::Open(absl::string_view path) {
  if (path.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError("open: the path contains a NUL byte");
  }
  absl::MutexLock lock(&tree_->mu);
  ASSIGN_OR_RETURN(const auto found, ResolveInMemory(*tree_, path));
  const NodePtr& node = found.second;
  if (node->kind != MemoryNode::Kind::kFile) {
    return NotRegular(absl::StrCat("open ", path));
  }
  if (!path.empty() && path.back() == '/') return PosixError(ENOTDIR, absl::StrCat("open ", path));
  if (node->unreadable) return PosixError(EACCES, absl::StrCat("open ", path));
  const std::string& real_path = found.first;
  return std::make_shared<MemoryFile>(tree_, node, std::string(path),
                                      real_path.substr(real_path.rfind('/') + 1), node->identity,
                                      direct_alignment_);
}

void MemoryVolume::Insert(const std::string& path, MemoryNode node) {
  absl::MutexLock lock(&tree_->mu);
  for (size_t slash = path.find('/'); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    auto& parent = tree_->nodes[path.substr(0, slash)];
    if (parent != nullptr) continue;
    parent = std::make_shared<MemoryNode>();
    parent->kind = MemoryNode::Kind::kDirectory;
    parent->identity = {.device = 1, .inode = tree_->next_inode++};
  }
  node.identity.device = 1;
  node.identity.inode = tree_->next_inode++;
  node.identity.mtime_ns = node.identity.ctime_ns = ++tree_->now_ns;
  tree_->nodes[path] = std::make_shared<MemoryNode>(std::move(node));
}

void MemoryVolume::AddFile(const std::string& path, std::string bytes) {
  MemoryNode node;
  node.identity.size_bytes = bytes.size();
  if (!bytes.empty()) node.extents[0] = std::move(bytes);
  Insert(path, std::move(node));
}

void MemoryVolume::AddDirectory(const std::string& path) {
  MemoryNode node;
  node.kind = MemoryNode::Kind::kDirectory;
  Insert(path, std::move(node));
}

void MemoryVolume::AddSymlink(const std::string& path, const std::string& target) {
  MemoryNode node;
  node.kind = MemoryNode::Kind::kSymlink;
  node.target = target;
  Insert(path, std::move(node));
}

void MemoryVolume::AddFifo(const std::string& path) {
  MemoryNode node;
  node.kind = MemoryNode::Kind::kFifo;
  Insert(path, std::move(node));
}

void MemoryVolume::Remove(const std::string& path) {
  absl::MutexLock lock(&tree_->mu);
  tree_->nodes.erase(path);
}

MemoryNode& MemoryVolume::At(const std::string& path) {
  const auto found = tree_->nodes.find(path);
  if (found == tree_->nodes.end()) throw std::out_of_range("memory volume has no " + path);
  return *found->second;
}

void MemoryVolume::Write(const std::string& path, uint64_t offset, std::string bytes) {
  absl::MutexLock lock(&tree_->mu);
  MemoryNode& node = At(path);
  const uint64_t end = offset + bytes.size();
  EraseBytes(node, offset, end);
  if (!bytes.empty()) node.extents[offset] = std::move(bytes);
  node.identity.size_bytes = std::max(node.identity.size_bytes, end);
  node.identity.mtime_ns = node.identity.ctime_ns = ++tree_->now_ns;
}

void MemoryVolume::Truncate(const std::string& path, uint64_t size_bytes) {
  absl::MutexLock lock(&tree_->mu);
  MemoryNode& node = At(path);
  EraseBytes(node, size_bytes, UINT64_MAX);
  node.identity.size_bytes = size_bytes;
  node.identity.mtime_ns = node.identity.ctime_ns = ++tree_->now_ns;
}

void MemoryVolume::Touch(const std::string& path) {
  absl::MutexLock lock(&tree_->mu);
  MemoryNode& node = At(path);
  node.identity.mtime_ns = node.identity.ctime_ns = ++tree_->now_ns;
}

void MemoryVolume::MakeUnreadable(const std::string& path) {
  absl::MutexLock lock(&tree_->mu);
  At(path).unreadable = true;
}

void MemoryVolume::FailReads(const std::string& path, int error) {
  absl::MutexLock lock(&tree_->mu);
  At(path).read_error = error;
}

void MemoryVolume::Cache(const std::string& path, uint64_t offset, uint64_t length) {
  absl::MutexLock lock(&tree_->mu);
  At(path).cached[offset] = offset + length;
}

}  // namespace weightd::testing
