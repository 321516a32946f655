#ifndef WEIGHTD_DAEMON_RESIDENCY_JOB_PLACES_H_
#define WEIGHTD_DAEMON_RESIDENCY_JOB_PLACES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "daemon/residency/stage_job.h"

namespace weightd {

// The places of the jobs that run. A volume that hangs keeps the places of its jobs until the stall
// timeout is over, and one user's jobs may last as long as his volume likes; so each lane
// (StageJob::lane) has, where no more than `lanes_max` have any,
//
//   `jobs_max` for anybody, and
//   one for a client's, an operator's and the daemon's job, of a user who has none in the lane.
//
// Beyond these lanes each user may have one job more, `kOwnPlaces` of all of them: whoever keeps
// the lanes with volumes that hang keeps nobody from a volume that does not.
//
// Thread-compatible.
class JobPlaces {
 public:
  static constexpr uint32_t kUserPlaces = 3;
  static constexpr uint32_t kOwnPlaces = 32;

  JobPlaces(uint32_t jobs_max, uint32_t lanes_max) : jobs_max_(jobs_max), lanes_max_(lanes_max) {}
  JobPlaces(const JobPlaces&) = delete;
  JobPlaces& operator=(const JobPlaces&) = delete;

  // Jobs at once, at most.
  uint32_t max() const { return lanes_max_ * (jobs_max_ + kUserPlaces) + kOwnPlaces; }

  bool HasFor(const std::string& lane, const JobUsers& users) const {
    return KindFor(lane, users) != Kind::kNone;
  }
  // Of a job whose lane it has a place in.
  void Take(const StageJob& job, const JobUsers& users);
  void Give(const StageJob& job);

 private:
  enum class Kind { kNone, kAny, kClient, kOperator, kDaemon, kOwn };
  struct Lane {
    bool is_whole = false;  // one of the `lanes_max`
    uint32_t any_taken = 0;
    bool client_taken = false;
    bool operator_taken = false;
    bool daemon_taken = false;
    std::unordered_map<uint32_t, uint32_t> jobs_of;  // by user
    uint32_t jobs = 0;
  };
  struct Place {
    Kind kind = Kind::kNone;
    std::string lane;
    JobUsers users;
  };

  Kind KindFor(const std::string& lane_name, const JobUsers& users) const;
  void Count(const Place& place, Lane& lane, bool taken);

  const uint32_t jobs_max_;
  const uint32_t lanes_max_;
  std::unordered_map<std::string, Lane> lanes_;  // those with jobs
  uint32_t whole_lanes_ = 0;
  uint32_t own_taken_ = 0;
  std::unordered_map<uint32_t, uint32_t> own_of_;  // jobs at places of kOwn, by user
  std::unordered_map<const StageJob*, Place> taken_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_JOB_PLACES_H_
