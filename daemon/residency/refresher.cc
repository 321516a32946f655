#include "daemon/residency/refresher.h"

#include <algorithm>
#include <set>
#include <utility>

namespace weightd {
namespace {

Event EventOf(const CatalogChange& change) {
  switch (change.kind) {
    case CatalogChange::Kind::kAdded:
      return Event::ModelAdded(change.model, change.file_bytes, change.revision);
    case CatalogChange::Kind::kRemoved:
      return Event::ModelRemoved(change.model, change.file_bytes, change.revision);
    case CatalogChange::Kind::kChanged:
      break;
  }
  return Event::ModelChanged(change.model, change.file_bytes, change.revision);
}

bool Names(const std::vector<std::string>& models, const std::string& model) {
  return std::find(models.begin(), models.end(), model) != models.end();
}

}  // namespace

Refresher::Refresher(RefresherOptions options, Residency& residency, EventLog& events,
                     WishList& wishes)
    : residency_(residency), events_(events), wishes_(wishes), options_(std::move(options)) {}

void Refresher::set_options(RefresherOptions options) {
  absl::MutexLock lock(&mu_);
  options_ = std::move(options);
}

RefresherOptions Refresher::options() const {
  absl::MutexLock lock(&mu_);
  return options_;
}

bool Refresher::IsPreloaded(const std::string& model) const {
  absl::MutexLock lock(&mu_);
  return Names(options_.preload, model);
}

void Refresher::OnFirstLook(const std::vector<Checkpoint>& checkpoints) {
  const RefresherOptions now = options();
  for (const Checkpoint& checkpoint : checkpoints) {
    Stage(checkpoint.model, RefreshPolicy::kOnRequest, now);
  }
}

void Refresher::OnChanges(const std::vector<CatalogChange>& changes) {
  const RefresherOptions now = options();
  for (const CatalogChange& change : changes) {
    events_.Publish(EventOf(change));
    if (change.kind != CatalogChange::Kind::kRemoved) {
      Stage(change.model, now.policy, now);
    }
  }
}

std::vector<std::string> Refresher::DevicesFor(const std::string& model, RefreshPolicy policy,
                                               bool preloaded) const {
  std::set<std::string> wanted;
  if (preloaded) wanted.insert(residency_.default_device());
  for (const Pin& pin : residency_.pins()) {
    if (pin.model == model && pin.asked_revision.empty()) wanted.insert(pin.device);
  }
  for (const CopyInfo& info : residency_.List(model)) {
    const bool follows = info.state == ResidencyState::kResident && !info.superseded &&
                         !info.host_copy && info.asked_revision.empty();
    if (!follows) continue;
    if (policy == RefreshPolicy::kKeepFresh) {
      wanted.insert(info.device);
    } else {
      wanted.erase(info.device);
    }
  }
  return {wanted.begin(), wanted.end()};
}

void Refresher::Stage(const std::string& model, RefreshPolicy policy,
                      const RefresherOptions& options) {
  const bool preloaded = Names(options.preload, model);
  StageRequest request;
  request.model = model;
  request.devices = DevicesFor(model, policy, preloaded);
  if (request.devices.empty()) return;
  request.pin = options.preload_pin && preloaded;
  request.priority = JobPriority::kRefresh;
  wishes_.Add({.request = std::move(request), .wanted = [this, model, policy] {
                 const RefresherOptions now = this->options();
                 return !DevicesFor(model, policy, Names(now.preload, model)).empty();
               }});
}

}  // namespace weightd
