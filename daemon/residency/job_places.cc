#include "daemon/residency/job_places.h"

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace weightd {
namespace {

void CountUsers(const JobUsers& users, bool taken, std::unordered_map<uint32_t, uint32_t>& jobs) {
  for (const auto& [uid, priority] : users) {
    uint32_t& count = jobs[uid];
    taken ? ++count : --count;
    if (count == 0) jobs.erase(uid);
  }
}

}  // namespace

JobPlaces::Kind JobPlaces::KindFor(const std::string& lane_name, const JobUsers& users) const {
  const auto found = lanes_.find(lane_name);
  if (found == lanes_.end() || !found->second.is_whole) {
    if (whole_lanes_ < lanes_max_) return Kind::kAny;
    const bool any_without = std::any_of(users.begin(), users.end(), [&](const auto& user) {
      return !own_of_.contains(user.first);
    });
    return any_without && own_taken_ < kOwnPlaces ? Kind::kOwn : Kind::kNone;
  }
  const Lane& lane = found->second;
  if (lane.any_taken < jobs_max_) return Kind::kAny;
  for (const auto& [uid, priority] : users) {
    if (lane.jobs_of.contains(uid)) continue;
    if (priority == JobPriority::kClient && !lane.client_taken) return Kind::kClient;
    if (priority == JobPriority::kOperator && !lane.operator_taken) return Kind::kOperator;
    if (!IsUsers(priority) && !lane.daemon_taken) return Kind::kDaemon;
  }
  return Kind::kNone;
}

void JobPlaces::Count(const Place& place, Lane& lane, bool taken) {
  switch (place.kind) {
    case Kind::kAny:
      taken ? ++lane.any_taken : --lane.any_taken;
      break;
    case Kind::kClient:
      lane.client_taken = taken;
      break;
    case Kind::kOperator:
      lane.operator_taken = taken;
      break;
    case Kind::kDaemon:
      lane.daemon_taken = taken;
      break;
    case Kind::kOwn:
      taken ? ++own_taken_ : --own_taken_;
      CountUsers(place.users, taken, own_of_);
      break;
    case Kind::kNone:
      break;
  }
  CountUsers(place.users, taken, lane.jobs_of);
  taken ? ++lane.jobs : --lane.jobs;
}

void JobPlaces::Take(const StageJob& job, const JobUsers& users) {
  Place place = {.lane = job.lane(), .users = users};
  place.kind = KindFor(place.lane, users);
  WEIGHTD_CHECK(place.kind != Kind::kNone);
  Lane& lane = lanes_[place.lane];
  if (place.kind == Kind::kAny && !std::exchange(lane.is_whole, true)) ++whole_lanes_;
  Count(place, lane, true);
  taken_.emplace(&job, std::move(place));
}

void JobPlaces::Give(const StageJob& job) {
  const auto found = taken_.find(&job);
  WEIGHTD_CHECK(found != taken_.end());
  const auto lane = lanes_.find(found->second.lane);
  Count(found->second, lane->second, false);
  taken_.erase(found);
  if (lane->second.jobs > 0) return;
  if (lane->second.is_whole) --whole_lanes_;
  lanes_.erase(lane);
}

}  // namespace weightd
