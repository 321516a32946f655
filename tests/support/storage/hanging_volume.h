#ifndef WEIGHTD_TESTS_SUPPORT_STORAGE_HANGING_VOLUME_H_
#define WEIGHTD_TESTS_SUPPORT_STORAGE_HANGING_VOLUME_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "daemon/storage/volume.h"

namespace weightd::testing {

// Holds up who passes it, from Hang() to Release(). Thread-safe.
class Gate {
 public:
  ~Gate() { Release(); }
  void Hang() ABSL_LOCKS_EXCLUDED(mu_);
  void Release() ABSL_LOCKS_EXCLUDED(mu_);
  void Pass() ABSL_LOCKS_EXCLUDED(mu_);
  // Until so many hang in it.
  void AwaitHeld(uint32_t count) const ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t passed() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  mutable absl::Mutex mu_;
  bool hangs_ ABSL_GUARDED_BY(mu_) = false;
  uint32_t held_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t passed_ ABSL_GUARDED_BY(mu_) = 0;
};

// A volume of which every call, and every read of its files, passes a gate first: a dead server.
class HangingVolume final : public Volume {
 public:
  HangingVolume(std::shared_ptr<Volume> inner, std::shared_ptr<Gate> gate)
      : inner_(std::move(inner)), gate_(std::move(gate)) {}

  const std::string& root() const override { return inner_->root(); }
  FileSystemKind file_system() const override { return inner_->file_system(); }
  absl::StatusOr<DirListing> List(absl::string_view directory, size_t entries_max) override;
  absl::StatusOr<PathFacts> Stat(absl::string_view path) override;
  absl::StatusOr<std::shared_ptr<File>> Open(absl::string_view path) override;

 private:
  const std::shared_ptr<Volume> inner_;
  const std::shared_ptr<Gate> gate_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_STORAGE_HANGING_VOLUME_H_
