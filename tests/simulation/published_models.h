#ifndef WEIGHTD_TESTS_SIMULATION_PUBLISHED_MODELS_H_
#define WEIGHTD_TESTS_SIMULATION_PUBLISHED_MODELS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/residency/generation.h"
#include "tests/simulation/faults.h"
#include "tests/support/storage/memory_volume.h"

namespace weightd::testing {

// A MemoryVolume of which each look at a directory and each opening is a point where an actor
// yields, and may fail. Thread-compatible, and its actors' one after another.
class SimulatedVolume final : public Volume {
 public:
  explicit SimulatedVolume(Faults& faults) : faults_(faults) {}

  const std::string& root() const override { return inner_.root(); }
  FileSystemKind file_system() const override { return inner_.file_system(); }
  absl::StatusOr<DirListing> List(absl::string_view directory, size_t entries_max) override;
  absl::StatusOr<PathFacts> Stat(absl::string_view path) override;
  absl::StatusOr<std::shared_ptr<File>> Open(absl::string_view path) override;
  MemoryVolume& inner() { return inner_; }

 private:
  MemoryVolume inner_;
  Faults& faults_;
};

// Who publishes models on the volume, and knows what every state of every one was.
// Thread-compatible.
class PublishedModels {
 public:
  PublishedModels(MemoryVolume& volume, uint64_t seed);

  const std::vector<std::string>& names() const { return names_; }
  // Of the one in a hub cache, those that the volume has; the newest last.
  const std::vector<std::string>& revisions() const { return revisions_; }
  static constexpr char kHubModel[] = "org/hub";

  // A whole new version, with other sizes.
  void Replace(const std::string& name);
  // One file is written over, half of it or all.
  void WriteOver(const std::string& name);
  void Remove(const std::string& name);
  bool IsThere(const std::string& name) const { return there_.contains(name); }

  // What is wrong with `content`, whose memory is `bytes`: empty if it is, byte by byte, what the
  // volume had for this model in one moment.
  std::string Judge(const CopyContent& content, absl::Span<const std::byte> bytes) const;

 private:
  using FileKey = std::pair<uint64_t, int64_t>;  // inode, mtime
  static FileKey KeyOf(const FileIdentity& identity) { return {identity.inode, identity.mtime_ns}; }

  std::string MakeFile(uint32_t index);
  // Sorted, as the catalog has them.
  std::vector<std::string> PathsOf(const std::string& name) const;
  void ReplaceHub();
  // Remembers what the volume has now.
  void Record(const std::string& name);

  MemoryVolume& volume_;
  std::mt19937_64 random_;
  std::vector<std::string> names_;
  std::map<std::string, uint32_t> shards_;
  std::set<std::string> there_;
  std::vector<std::string> revisions_;
  std::map<std::string, std::string> now_;   // by path: the bytes
  std::map<FileKey, std::string> contents_;  // of every file that ever was
  std::map<std::string, std::set<std::vector<FileKey>>> states_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SIMULATION_PUBLISHED_MODELS_H_
