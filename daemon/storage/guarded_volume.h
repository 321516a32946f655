#ifndef WEIGHTD_DAEMON_STORAGE_GUARDED_VOLUME_H_
#define WEIGHTD_DAEMON_STORAGE_GUARDED_VOLUME_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/storage/volume.h"
#include "daemon/storage/volume_threads.h"

namespace weightd {

// A volume each call of which, and of its files, runs on the threads of its root: no caller waits
// longer than their stall_timeout. Besides the errors of the volume there are those of
// VolumeThreads::Call(). On a thread of the root itself calls are made at once.
//
// Made as a shared_ptr. Thread-safe.
class GuardedVolume final : public Volume, public std::enable_shared_from_this<GuardedVolume> {
 public:
  // `file_system` is that of `raw`: asking it may wait.
  GuardedVolume(std::shared_ptr<Volume> raw, FileSystemKind file_system,
                std::shared_ptr<VolumeThreads> threads)
      : raw_(std::move(raw)), file_system_(file_system), threads_(std::move(threads)) {}

  const std::string& root() const override { return raw_->root(); }
  FileSystemKind file_system() const override { return file_system_; }
  absl::StatusOr<DirListing> List(absl::string_view directory, size_t entries_max) override;
  absl::StatusOr<PathFacts> Stat(absl::string_view path) override;
  absl::StatusOr<std::shared_ptr<File>> Open(absl::string_view path) override;
  absl::Status RunNear(VolumeWork call, std::function<absl::Status(Volume&)> work) override;

 private:
  const std::shared_ptr<Volume> raw_;
  const FileSystemKind file_system_;
  const std::shared_ptr<VolumeThreads> threads_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_GUARDED_VOLUME_H_
