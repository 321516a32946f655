#include "daemon/residency/job_places.h"

#include <utility>

#include "common/check.h"

namespace weightd {

JobPlaces::Kind JobPlaces::KindFor(const StageTask& task, const JobUsers& users) const {
  const auto found = lanes_.find(task.lane);
  if (found == lanes_.end()) return lanes_.size() < lanes_max_ ? Kind::kAny : Kind::kNone;
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

void JobPlaces::Count(Kind kind, Lane& lane, bool taken) {
  if (kind == Kind::kAny) taken ? ++lane.any_taken : --lane.any_taken;
  if (kind == Kind::kClient) lane.client_taken = taken;
  if (kind == Kind::kOperator) lane.operator_taken = taken;
  if (kind == Kind::kDaemon) lane.daemon_taken = taken;
  taken ? ++lane.jobs : --lane.jobs;
}

void JobPlaces::Take(const StageJob& job, const JobUsers& users) {
  const Kind kind = KindFor(job.task(), users);
  WEIGHTD_CHECK(kind != Kind::kNone);
  Lane& lane = lanes_[job.task().lane];
  Count(kind, lane, true);
  for (const auto& [uid, priority] : users) ++lane.jobs_of[uid];
  taken_.emplace(&job, Place{.kind = kind, .users = users});
}

void JobPlaces::Give(const StageJob& job) {
  const auto found = taken_.find(&job);
  WEIGHTD_CHECK(found != taken_.end());
  const Place place = std::move(found->second);
  taken_.erase(found);
  const auto lane = lanes_.find(job.task().lane);
  Count(place.kind, lane->second, false);
  for (const auto& [uid, priority] : place.users) {
    const auto jobs = lane->second.jobs_of.find(uid);
    if (--jobs->second == 0) lane->second.jobs_of.erase(jobs);
  }
  if (lane->second.jobs == 0) lanes_.erase(lane);
}

}  // namespace weightd
