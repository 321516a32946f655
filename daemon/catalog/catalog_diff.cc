#include "daemon/catalog/catalog_diff.h"

#include <algorithm>
#include <set>
#include <utility>

namespace weightd {

CatalogDiff::States CatalogDiff::StatesOf(const std::vector<Checkpoint>& checkpoints) {
  States states;
  for (const Checkpoint& checkpoint : checkpoints) {
    states[checkpoint.model] = {.root = checkpoint.volume->root(),
                                .revision = checkpoint.revision,
                                .identities = checkpoint.identities,
                                .problem = checkpoint.problem,
                                .file_bytes = checkpoint.file_bytes};
  }
  return states;
}

bool CatalogDiff::Settle(const std::string& model, const std::optional<State>& now,
                         absl::Time time) {
  const auto found = pending_.find(model);
  if (found == pending_.end() || found->second.state != now) {
    pending_[model] = {.state = now, .since = time};
    if (settle_ > absl::ZeroDuration()) return false;
  } else if (time - found->second.since < settle_) {
    return false;
  }
  return !now.has_value() || now->problem.empty();
}

std::vector<CatalogChange> CatalogDiff::Look(const std::vector<Checkpoint>& checkpoints,
                                             absl::Time now) {
  States states = StatesOf(checkpoints);
  std::vector<CatalogChange> changes;
  if (!known_.has_value()) {
    // What is not whole yet is new when it is.
    std::erase_if(states, [](const auto& entry) { return !entry.second.problem.empty(); });
    known_ = std::move(states);
    return changes;
  }
  std::set<std::string> models;
  for (const auto& [model, state] : *known_) models.insert(model);
  for (const auto& [model, state] : states) models.insert(model);
  for (const std::string& model : models) {
    const auto before = known_->find(model);
    const auto found = states.find(model);
    const auto after =
        found == states.end() ? std::optional<State>() : std::optional<State>(found->second);
    if (before != known_->end() && after == before->second) {
      pending_.erase(model);
      continue;
    }
    if (before == known_->end() && !after.has_value()) continue;
    if (!Settle(model, after, now)) continue;
    pending_.erase(model);
    CatalogChange change;
    change.kind = CatalogChange::Kind::kRemoved;
    change.model = model;
    if (after.has_value()) {
      change.kind =
          before == known_->end() ? CatalogChange::Kind::kAdded : CatalogChange::Kind::kChanged;
      change.revision = after->revision;
      change.file_bytes = after->file_bytes;
      (*known_)[model] = *after;
    } else {
      known_->erase(before);
    }
    changes.push_back(std::move(change));
  }
  std::erase_if(pending_, [&](const auto& entry) { return !models.contains(entry.first); });
  return changes;
}

std::optional<absl::Time> CatalogDiff::next_look() const {
  std::optional<absl::Time> next;
  for (const auto& [model, pending] : pending_) {
    // What has a problem settles only when somebody changes it again.
    if (pending.state.has_value() && !pending.state->problem.empty()) continue;
    const absl::Time due = pending.since + settle_;
    next = next.has_value() ? std::min(*next, due) : due;
  }
  return next;
}

}  // namespace weightd
