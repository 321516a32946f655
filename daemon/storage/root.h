#ifndef WEIGHTD_DAEMON_STORAGE_ROOT_H_
#define WEIGHTD_DAEMON_STORAGE_ROOT_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "daemon/storage/descriptor_budget.h"
#include "daemon/storage/volume.h"
#include "daemon/storage/volume_threads.h"

namespace weightd {

// A root as the configuration names it: a path, and the directory that it leads to now. That can
// come late (a volume that is mounted after the daemon starts), go, or be another one from some
// time on (a link that is switched). Files that were opened below the one before stay as they are.
//
// Thread-safe.
class Root {
 public:
  // The directory is not looked up yet.
  static absl::StatusOr<std::shared_ptr<Root>> Create(
      const std::string& path, const VolumeThreadsOptions& options,
      std::shared_ptr<DescriptorBudget> descriptors = nullptr);
  // A volume that stays what it is, with no threads of its own: calls are made by who calls.
  static std::shared_ptr<Root> Fixed(std::shared_ptr<Volume> volume);

  const std::string& path() const { return path_; }
  // Null for a fixed one.
  VolumeThreads* threads() const { return threads_.get(); }

  // The directory that the last Refresh() found, on the root's threads (guarded_volume.h); its
  // problem where it found none. Never waits.
  absl::StatusOr<std::shared_ptr<Volume>> volume() const ABSL_LOCKS_EXCLUDED(mu_);

  enum class Refreshed { kSame, kAppeared, kReplaced };
  // Looks the path up again. NOT_FOUND or PERMISSION_DENIED when no directory can be opened there:
  // it has gone. Other errors leave the root what it was. Waits for the volume: on its threads.
  absl::StatusOr<Refreshed> Refresh() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Root(std::string path, std::shared_ptr<VolumeThreads> threads,
       std::shared_ptr<DescriptorBudget> descriptors)
      : path_(std::move(path)),
        threads_(std::move(threads)),
        descriptors_(std::move(descriptors)) {}

  // Of a Refresh() that failed: what volume() says then. Returns it.
  absl::Status Lost(const absl::Status& problem) ABSL_LOCKS_EXCLUDED(mu_);

  const std::string path_;
  const std::shared_ptr<VolumeThreads> threads_;
  const std::shared_ptr<DescriptorBudget> descriptors_;
  mutable absl::Mutex mu_;
  std::shared_ptr<Volume> volume_ ABSL_GUARDED_BY(mu_);  // null: none, and `problem_` says why
  FileIdentity directory_ ABSL_GUARDED_BY(mu_);
  absl::Status problem_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_ROOT_H_
