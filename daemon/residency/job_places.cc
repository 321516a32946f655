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
  const auto lane = by_lane_.find(task.lane);
  const uint32_t in_lane = lane == by_lane_.end() ? 0 : lane->second;
  if (in_lane < jobs_max_ && lanes_taken_ < in_lanes_max_) return Kind::kLane;
  for (const auto& [uid, priority] : users) {
    if (by_uid_.contains(uid)) continue;
    if (priority == JobPriority::kClient && !client_taken_) return Kind::kClient;
    if (priority == JobPriority::kOperator && !operator_taken_) return Kind::kOperator;
    if (!IsUsers(priority) && !daemon_taken_) return Kind::kDaemon;
  }
  return Kind::kNone;
}

void JobPlaces::Count(Kind kind, const std::string& lane, bool taken) {
  if (kind == Kind::kLane) {
    taken ? ++lanes_taken_ : --lanes_taken_;
    taken ? (void)++by_lane_[lane] : Decrement(by_lane_, lane);
  }
  if (kind == Kind::kClient) client_taken_ = taken;
  if (kind == Kind::kOperator) operator_taken_ = taken;
  if (kind == Kind::kDaemon) daemon_taken_ = taken;
}

void JobPlaces::Take(const StageJob& job, const JobUsers& users) {
  const Kind kind = KindFor(job.task(), users);
  WEIGHTD_CHECK(kind != Kind::kNone);
  Count(kind, job.task().lane, true);
  for (const auto& [uid, priority] : users) ++by_uid_[uid];
  taken_.emplace(&job, Place{.kind = kind, .users = users});
}

void JobPlaces::Give(const StageJob& job) {
  const auto found = taken_.find(&job);
  WEIGHTD_CHECK(found != taken_.end());
  const Place place = std::move(found->second);
  taken_.erase(found);
  Count(place.kind, job.task().lane, false);
  for (const auto& [uid, priority] : place.users) Decrement(by_uid_, uid);
}

}  // namespace weightd
