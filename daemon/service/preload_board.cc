#include "daemon/service/preload_board.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/errors.h"
#include "daemon/catalog/model_ref.h"

namespace weightd {
namespace {

// What a configured name means; what is no name means itself, and was refused.
ModelRef RefOf(const std::string& name) {
  const absl::StatusOr<ModelRef> ref = ParseModelRef(name);
  return ref.ok() ? *ref : ModelRef{.model = name};
}

// Whether "host" is one of "GPU-1, host".
bool Names(const std::string& devices, const std::string& device) {
  const std::vector<absl::string_view> all = absl::StrSplit(devices, ", ");
  return std::find(all.begin(), all.end(), device) != all.end();
}

std::string RetryText(const std::optional<WishList::Retry>& retry) {
  if (!retry.has_value()) return "";
  return absl::StrCat("; retry ", retry->number, " in ",
                      absl::FormatDuration(absl::Ceil(retry->in, absl::Seconds(1))));
}

}  // namespace

PreloadBoard::PreloadBoard(const Residency& residency, EventLog& events, const WishList& wishes,
                           std::function<std::vector<std::string>()> names)
    : residency_(residency), events_(events), wishes_(wishes), names_(std::move(names)) {
  watch_ = events_.Watch([this](const Event& event) { OnEvent(event); });
}

PreloadBoard::~PreloadBoard() { events_.Unwatch(watch_); }

void PreloadBoard::Refused(const std::string& name, const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  failures_[name] = {.error = std::string(status.message()),
                     .reason = std::string(ReasonWord(status))};
}

void PreloadBoard::OnEvent(const Event& event) {
  const bool failed =
      event.type == EventType::kStageFailed || event.type == EventType::kStageRefused;
  if (!failed && event.type != EventType::kStageDone) return;
  if (!Names(event.device, residency_.default_device())) return;
  for (const std::string& name : names_()) {
    if (RefOf(name).model != event.model) continue;
    absl::MutexLock lock(&mu_);
    if (failed) {
      failures_[name] = {.error = event.detail, .reason = event.reason};
    } else {
      failures_.erase(name);
    }
  }
}

bool PreloadBoard::IsResident(const std::string& model, const std::string& revision) const {
  for (const CopyInfo& copy : residency_.List(model)) {
    if (copy.state == ResidencyState::kResident && !copy.damaged &&
        copy.device == residency_.default_device() && NamesRevision(revision, copy)) {
      return true;
    }
  }
  return false;
}

v1::Preload PreloadBoard::Look(const std::string& name) const {
  const ModelRef ref = RefOf(name);
  v1::Preload preload;
  preload.set_model(name);
  preload.set_state(v1::PRELOAD_ABSENT);
  {
    absl::MutexLock lock(&mu_);
    if (const auto failure = failures_.find(name); failure != failures_.end()) {
      preload.set_state(v1::PRELOAD_FAILED);
      preload.set_error(failure->second.error + RetryText(wishes_.RetryOf(name)));
      preload.set_reason(failure->second.reason);
    }
  }
  for (const std::shared_ptr<StageJob>& job : residency_.JobsFor(ref.model)) {
    const StageSnapshot snapshot = job->snapshot();
    const auto& devices = job->task().devices;
    if (snapshot.final() || job->task().ref.revision != ref.revision ||
        std::find(devices.begin(), devices.end(), residency_.default_device()) == devices.end()) {
      continue;
    }
    preload.set_state(snapshot.phase == StagePhase::kQueued ? v1::PRELOAD_QUEUED
                                                            : v1::PRELOAD_STAGING);
    preload.set_job_id(snapshot.job.value());
    preload.set_bytes_done(snapshot.bytes_done);
    preload.set_bytes_total(snapshot.bytes_total);
  }
  if (IsResident(ref.model, ref.revision)) {
    preload.Clear();
    preload.set_model(name);
    preload.set_state(v1::PRELOAD_RESIDENT);
  }
  return preload;
}

std::vector<v1::Preload> PreloadBoard::List() const {
  std::vector<v1::Preload> preloads;
  for (const std::string& name : names_()) preloads.push_back(Look(name));
  return preloads;
}

}  // namespace weightd
