#include "daemon/main/kept_files.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/bounded_call.h"
#include "common/durable_files.h"
#include "common/status_macros.h"
#include "common/volume_file.h"
#include "daemon/residency/node_features.h"

namespace weightd {
namespace {

// How long a start waits for the state file's volume.
constexpr absl::Duration kLoadTimeout = absl::Seconds(5);
// And until it knows whether the file can be written.
constexpr absl::Duration kProbeTimeout = absl::Seconds(1);
constexpr uint32_t kReadableByAll = 0644;

// Whether what an attach finds may be otherwise after it: leases come and go much more often.
bool ChangesLabels(EventType type) {
  return type == EventType::kStageDone || type == EventType::kEvicted ||
         type == EventType::kSuperseded || type == EventType::kDamaged;
}

}  // namespace

LoadedState LoadState(const std::string& path, const std::string& self) {
  LoadedState loaded;
  if (path.empty()) return loaded;
  absl::StatusOr<OwnedState> owned = LoadOwnedState(path, self, kLoadTimeout);
  if (absl::IsFailedPrecondition(owned.status())) {
    // Nothing of ours is lost, and nothing can be kept there.
    loaded.problem = std::string(owned.status().message());
    return loaded;
  }
  if (owned.ok()) loaded.lock = std::make_shared<StateLock>(std::move(owned->lock));
  if (owned.ok() && owned->state.ok()) {
    loaded.state = *std::move(owned->state);
    return loaded;
  }
  const absl::Status status = owned.ok() ? owned->state.status() : owned.status();
  std::string text = absl::StrCat("pins and last uses are lost: ", status.message());
  if (!owned.ok()) {
    // What it holds is not known, and must not be written over.
    loaded.problem = absl::StrCat(status.message(), "; start weightd again when it answers");
    absl::StrAppend(&text, "; until weightd is started again, nothing is kept");
  } else {
    absl::StrAppend(&text, "; it is written anew when they change");
  }
  loaded.warnings.push_back({.reason = WarningReason::kStateLost, .text = std::move(text)});
  return loaded;
}

void KeptFiles::Watch(EventLog::Watcher watcher) {
  watches_.push_back(events_.Watch(std::move(watcher)));
}

absl::Status KeptFiles::KeepState(std::shared_ptr<StateLock> lock) {
  lock_ = std::move(lock);
  const std::string path = options_.state_file;
  ASSIGN_OR_RETURN(
      state_, DeferredWriter::Start(
                  {.format =
                       [this] {
                         return FormatSavedState(
                             {.pins = residency_.pins(), .last_uses = residency_.last_uses()});
                       },
                   .store = [path](const std::string& text) { return StoreSavedState(path, text); },
                   .probe = [path] { return ProbeSavedState(path); },
                   .on_change =
                       [this, path](const absl::Status& status) {
                         if (status.ok()) {
                           logger_.Log(LogLevel::kInfo, "state_saved", {{"file", path}});
                           return;
                         }
                         logger_.Log(LogLevel::kWarning, "state_not_saved",
                                     {{"detail", std::string(status.message())}});
                       }},
                  {.name = "state file"}));
  // What takes longer is told when it ends.
  (void)state_->AwaitProbe(kProbeTimeout);
  Watch([state = state_.get()](const Event& event) {
    state->Changed(event.type == EventType::kPinned || event.type == EventType::kUnpinned);
  });
  return absl::OkStatus();
}

absl::Status KeptFiles::TellNodeFeatures() {
  if (options_.node_features_file.empty()) return absl::OkStatus();
  const std::string path = options_.node_features_file;
  ASSIGN_OR_RETURN(
      node_features_,
      DeferredWriter::Start(
          {.format = [this] { return FormatNodeFeatures(residency_.List(), clock_.Now()); },
           .store =
               [path](const std::string& text) { return StoreFile(path, text, kReadableByAll); },
           .on_change =
               [this, path](const absl::Status& status) {
                 if (status.ok()) {
                   logger_.Log(LogLevel::kInfo, "node_features_told", {{"file", path}});
                   return;
                 }
                 logger_.Log(LogLevel::kWarning, "node_features_not_told",
                             {{"detail", std::string(status.message())}});
               }},
          {.name = "node features",
           .interval = absl::Seconds(1),
           .renewal = kNodeFeaturesValid / 3}));
  node_features_->Changed(/*at_once=*/true);
  Watch([writer = node_features_.get()](const Event& event) {
    if (ChangesLabels(event.type)) writer->Changed(/*at_once=*/false);
  });
  return absl::OkStatus();
}

void KeptFiles::Stop() {
  for (const uint64_t watch : watches_) events_.Unwatch(watch);
  watches_.clear();
  const absl::Time end = absl::Now() + DeferredWriter::kStopTimeout;
  if (state_ != nullptr) state_->BeginStop();
  if (node_features_ != nullptr) node_features_->BeginStop();
  if (state_ != nullptr) {
    // An error that came before was told when it came.
    const absl::Status stopped = state_->Stop(end - absl::Now());
    if (absl::IsDeadlineExceeded(stopped)) {
      logger_.Log(LogLevel::kWarning, "state_not_saved",
                  {{"detail", absl::StrCat(options_.state_file, ": ", stopped.message())}});
    }
  }
  if (lock_ != nullptr) {
    // The next daemon may begin before this process has ended. One that hangs is left behind.
    (void)CallWithin(end - absl::Now(), absl::StrCat("close the lock of ", options_.state_file),
                     [lock = std::exchange(lock_, nullptr)]() mutable {
                       lock.reset();
                       return absl::OkStatus();
                     });
  }
  if (node_features_ == nullptr) return;
  const bool hangs = absl::IsDeadlineExceeded(node_features_->Stop(end - absl::Now()));
  // With the daemon goes what it kept. Where that fails the next daemon says what is true.
  if (!hangs) (void)VolumeUnlink(options_.node_features_file);
  node_features_.reset();
}

}  // namespace weightd
