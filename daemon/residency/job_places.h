#ifndef WEIGHTD_DAEMON_RESIDENCY_JOB_PLACES_H_
#define WEIGHTD_DAEMON_RESIDENCY_JOB_PLACES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "daemon/residency/stage_job.h"

namespace weightd {

// The places of the jobs that run. A volume that hangs keeps the places of its jobs until the stall
// timeout is over, and one user's jobs may last as long as his volume likes; so there are
//
//   `jobs_max` for each lane (StageTask::lane), of `lanes_max` lanes in all, and
//   one for a client's, an operator's and the daemon's job, of a user of whom no job runs.
//
// Thread-compatible.
class JobPlaces {
 public:
  static constexpr uint32_t kUserPlaces = 3;

  JobPlaces(uint32_t jobs_max, uint32_t lanes_max)
      : jobs_max_(jobs_max), in_lanes_max_(lanes_max * jobs_max) {}
  JobPlaces(const JobPlaces&) = delete;
  JobPlaces& operator=(const JobPlaces&) = delete;

  // Jobs at once, at most.
  uint32_t max() const { return in_lanes_max_ + kUserPlaces; }

  bool HasFor(const StageTask& task, const JobUsers& users) const {
    return KindFor(task, users) != Kind::kNone;
  }
  // Of a job that it has a place for.
  void Take(const StageJob& job, const JobUsers& users);
  void Give(const StageJob& job);

 private:
  enum class Kind { kNone, kLane, kClient, kOperator, kDaemon };
  struct Place {
    Kind kind = Kind::kNone;
    JobUsers users;
  };

  Kind KindFor(const StageTask& task, const JobUsers& users) const;
  void Count(Kind kind, const std::string& lane, bool taken);

  const uint32_t jobs_max_;
  const uint32_t in_lanes_max_;
  uint32_t lanes_taken_ = 0;  // places of all lanes
  bool client_taken_ = false;
  bool operator_taken_ = false;
  bool daemon_taken_ = false;
  std::unordered_map<std::string, uint32_t> by_lane_;
  std::unordered_map<uint32_t, uint32_t> by_uid_;
  std::unordered_map<const StageJob*, Place> taken_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_JOB_PLACES_H_
