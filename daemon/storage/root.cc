#include "daemon/storage/root.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/storage/guarded_volume.h"

namespace weightd {

absl::StatusOr<std::shared_ptr<Root>> Root::Create(const std::string& path,
                                                   const VolumeThreadsOptions& options,
                                                   std::shared_ptr<DescriptorBudget> descriptors) {
  ASSIGN_OR_RETURN(std::shared_ptr<VolumeThreads> threads, VolumeThreads::Create(path, options));
  std::shared_ptr<Root> root(new Root(path, std::move(threads), std::move(descriptors)));
  absl::MutexLock lock(&root->mu_);
  root->problem_ = absl::UnavailableError(absl::StrCat("root ", path, ": not looked up yet"));
  return root;
}

std::shared_ptr<Root> Root::Fixed(std::shared_ptr<Volume> volume) {
  std::shared_ptr<Root> root(new Root(volume->root(), nullptr, nullptr));
  absl::MutexLock lock(&root->mu_);
  root->volume_ = std::move(volume);
  return root;
}

absl::StatusOr<std::shared_ptr<Volume>> Root::volume() const {
  absl::MutexLock lock(&mu_);
  if (volume_ == nullptr) return problem_;
  return volume_;
}

absl::Status Root::Lost(const absl::Status& problem) {
  std::shared_ptr<Volume> gone;  // after the lock
  absl::MutexLock lock(&mu_);
  if (volume_ == nullptr) problem_ = problem;
  if (absl::IsNotFound(problem) || absl::IsPermissionDenied(problem)) {
    gone = std::exchange(volume_, nullptr);
    problem_ = problem;
  }
  return problem;
}

absl::StatusOr<Root::Refreshed> Root::Refresh() {
  if (threads_ == nullptr) return Refreshed::kSame;
  VolumeThreads::Beat("open the root");
  absl::StatusOr<std::unique_ptr<Volume>> opened = OpenVolume(path_, descriptors_);
  if (!opened.ok()) return Lost(Annotate(opened.status(), "root is not there"));
  std::shared_ptr<Volume> raw = *std::move(opened);
  const absl::StatusOr<PathFacts> facts = raw->Stat("");
  if (!facts.ok()) return Lost(Annotate(facts.status(), "root cannot be read"));
  auto guarded = std::make_shared<GuardedVolume>(raw, raw->file_system(), threads_);
  std::shared_ptr<Volume> before;  // after the lock
  absl::MutexLock lock(&mu_);
  // The inode alone: a directory's size and times change with what it holds.
  const bool is_same = volume_ != nullptr && directory_.device == facts->identity.device &&
                       directory_.inode == facts->identity.inode;
  if (is_same) return Refreshed::kSame;
  before = std::exchange(volume_, std::move(guarded));
  directory_ = facts->identity;
  return before == nullptr ? Refreshed::kAppeared : Refreshed::kReplaced;
}

}  // namespace weightd
