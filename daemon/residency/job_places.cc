#include "daemon/residency/job_places.h"

#include "common/check.h"

namespace weightd {
namespace {

template <typename Key>
void Decrement(std::unordered_map<Key, uint32_t>& counts, const Key& key) {
  const auto count = counts.find(key);
  if (count != counts.end() && --count->second == 0) counts.erase(count);
}

}  // namespace

JobPlaces::Kind JobPlaces::KindFor(const StageJob& job) const {
  if (any_taken_ < jobs_max_) return Kind::kAny;
  if (lanes_taken_ < kLanePlaces && !by_lane_.contains(job.task().lane)) return Kind::kLane;
  const JobPriority priority = job.priority();
  if (!IsUsers(priority) || by_uid_.contains(job.task().uid)) return Kind::kNone;
  if (priority == JobPriority::kClient) return client_taken_ ? Kind::kNone : Kind::kClient;
  return operator_taken_ ? Kind::kNone : Kind::kOperator;
}

void JobPlaces::Take(const StageJob& job) {
  const Place place = {.kind = KindFor(job), .is_users = IsUsers(job.priority())};
  WEIGHTD_CHECK(place.kind != Kind::kNone);
  if (place.kind == Kind::kAny) ++any_taken_;
  if (place.kind == Kind::kLane) ++lanes_taken_;
  if (place.kind == Kind::kClient) client_taken_ = true;
  if (place.kind == Kind::kOperator) operator_taken_ = true;
  ++by_lane_[job.task().lane];
  if (place.is_users) ++by_uid_[job.task().uid];
  taken_.emplace(&job, place);
}

void JobPlaces::Give(const StageJob& job) {
  const auto found = taken_.find(&job);
  WEIGHTD_CHECK(found != taken_.end());
  const Place place = found->second;
  taken_.erase(found);
  if (place.kind == Kind::kAny) --any_taken_;
  if (place.kind == Kind::kLane) --lanes_taken_;
  if (place.kind == Kind::kClient) client_taken_ = false;
  if (place.kind == Kind::kOperator) operator_taken_ = false;
  Decrement(by_lane_, job.task().lane);
  if (place.is_users) Decrement(by_uid_, job.task().uid);
}

}  // namespace weightd
