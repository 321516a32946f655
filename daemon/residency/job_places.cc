#include "daemon/residency/job_places.h"

#include <utility>

#include "common/check.h"

namespace weightd {
namespace {

template <typename Key>
void Decrement(std::unordered_map<Key, uint32_t>& counts, const Key& key) {
  const auto count = counts.find(key);
  if (count != counts.end() && --count->second == 0) counts.erase(count);
}

}  // namespace

JobPlaces::Kind JobPlaces::KindFor(const StageTask& task, const JobUsers& users) const {
  if (any_taken_ < jobs_max_) return Kind::kAny;
  if (lanes_taken_ < kLanePlaces && !by_lane_.contains(task.lane)) return Kind::kLane;
  for (const auto& [uid, priority] : users) {
    if (by_uid_.contains(uid)) continue;
    if (priority == JobPriority::kClient && !client_taken_) return Kind::kClient;
    if (priority == JobPriority::kOperator && !operator_taken_) return Kind::kOperator;
    if (!IsUsers(priority) && !daemon_taken_) return Kind::kDaemon;
  }
  return Kind::kNone;
}

void JobPlaces::Count(Kind kind, bool taken) {
  if (kind == Kind::kAny) taken ? ++any_taken_ : --any_taken_;
  if (kind == Kind::kLane) taken ? ++lanes_taken_ : --lanes_taken_;
  if (kind == Kind::kClient) client_taken_ = taken;
  if (kind == Kind::kOperator) operator_taken_ = taken;
  if (kind == Kind::kDaemon) daemon_taken_ = taken;
}

void JobPlaces::Take(const StageJob& job, const JobUsers& users) {
  const Kind kind = KindFor(job.task(), users);
  WEIGHTD_CHECK(kind != Kind::kNone);
  Count(kind, true);
  ++by_lane_[job.task().lane];
  for (const auto& [uid, priority] : users) ++by_uid_[uid];
  taken_.emplace(&job, Place{.kind = kind, .users = users});
}

void JobPlaces::Give(const StageJob& job) {
  const auto found = taken_.find(&job);
  WEIGHTD_CHECK(found != taken_.end());
  const Place place = std::move(found->second);
  taken_.erase(found);
  Count(place.kind, false);
  Decrement(by_lane_, job.task().lane);
  for (const auto& [uid, priority] : place.users) Decrement(by_uid_, uid);
}

}  // namespace weightd
