#ifndef WEIGHTD_DAEMON_STORAGE_VOLUME_CREW_H_
#define WEIGHTD_DAEMON_STORAGE_VOLUME_CREW_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "daemon/storage/volume_work.h"

// What VolumeThreads have to do, and whose turn it is. Thread-compatible: guarded by their lock.

namespace weightd {

// What VolumeThreads::Call() waits for.
struct VolumeTicket {
  std::string what;
  absl::Duration silence;
  absl::Time end;
  // Guarded by the lock of the threads.
  std::function<void()> run;      // until it begins
  std::vector<VolumeLane> lanes;  // in which it waits, or did
  bool begun = false;
  bool done = false;
  absl::Time last_sign;  // when it was asked for, began or got on
};

struct VolumeTask {
  std::string what;
  std::function<void()> run;             // with a ticket, that has it
  std::shared_ptr<VolumeTicket> ticket;  // null: nobody waits
};

// What is to be done in one lane.
struct VolumeTasks {
  std::deque<VolumeTask> tasks;
  uint32_t running = 0;
};

// Threads that take their tasks from all lanes in turn, of one lane only so many at once, and of a
// user's a quarter of that. Of all threads, half of what others leave is for one user, for the
// users of the same volumes together, and for those of several volumes at once: neither who may be
// many users takes what other volumes need, nor who links to many sets of volumes what other users
// need.
struct VolumeCrew {
  using Lanes = std::map<VolumeLane, VolumeTasks>;
  using Lane = Lanes::value_type;
  // Whose calls are counted together: a user's, those of all users of the same volumes, and those
  // of all users of several volumes at once.
  enum class ShareKind { kUser, kVolumes, kSeveralVolumes };
  using Share = std::pair<ShareKind, std::set<uint64_t>>;
  // None, of the daemon's own lane.
  static std::vector<Share> SharesOf(const VolumeLane& lane) {
    if (!lane.uid.has_value()) return {};
    std::vector<Share> shares = {{ShareKind::kUser, {*lane.uid}},
                                 {ShareKind::kVolumes, lane.volumes}};
    if (lane.volumes.size() > 1) shares.push_back({ShareKind::kSeveralVolumes, {}});
    return shares;
  }

  uint32_t MostOf(const VolumeLane& lane) const {
    return lane.uid.has_value() ? std::max(1U, lane_threads_max / 4) : lane_threads_max;
  }
  // What is left to calls of which `own` run, of what others leave.
  uint32_t LeftBeside(uint32_t own) const {
    const uint32_t others = running - own;
    const uint32_t most = std::max(1U, (threads_max - std::min(others, threads_max)) / 2);
    return most - std::min(own, most);
  }
  // How many of its tasks threads without one could begin.
  size_t ReadyOf(const Lane& lane) const {
    if (lane.second.tasks.empty()) return 0;
    const uint32_t most = MostOf(lane.first);
    size_t ready =
        std::min<size_t>(lane.second.tasks.size(), most - std::min(lane.second.running, most));
    for (const Share& share : SharesOf(lane.first)) {
      const auto own = users_running.find(share);
      if (own != users_running.end()) ready = std::min<size_t>(ready, LeftBeside(own->second));
    }
    return ready;
  }
  // A thread takes the next task of a lane that is ready, and has done it.
  VolumeTask Take(Lanes::iterator lane) {
    VolumeTask task = std::move(lane->second.tasks.front());
    lane->second.tasks.pop_front();
    ++lane->second.running;
    ++running;
    for (const Share& share : SharesOf(lane->first)) ++users_running[share];
    last = lane->first;
    return task;
  }
  void End(Lanes::iterator lane) {
    --lane->second.running;
    --running;
    for (const Share& share : SharesOf(lane->first)) {
      const auto own = users_running.find(share);
      if (--own->second == 0) users_running.erase(own);
    }
    EndIfOver(lane);
  }
  size_t CountReady() const {
    size_t count = 0;
    for (const auto& lane : lanes) count += ReadyOf(lane);
    return count;
  }
  // The lane whose turn it is; end() without any.
  Lanes::iterator Next() {
    auto next = lanes.upper_bound(last);
    for (size_t i = 0; i < lanes.size(); ++i, ++next) {
      if (next == lanes.end()) next = lanes.begin();
      if (ReadyOf(*next) > 0) return next;
    }
    return lanes.end();
  }
  // What waits for this ticket, waits no more.
  void Forget(const VolumeTicket& ticket) {
    for (const VolumeLane& name : ticket.lanes) {
      const auto lane = lanes.find(name);
      if (lane == lanes.end()) continue;
      std::erase_if(lane->second.tasks,
                    [&](const VolumeTask& task) { return task.ticket.get() == &ticket; });
      EndIfOver(lane);
    }
  }
  void EndIfOver(Lanes::iterator lane) {
    if (lane->second.tasks.empty() && lane->second.running == 0) lanes.erase(lane);
  }

  const uint32_t lane_threads_max;
  const uint32_t threads_max;
  Lanes lanes = {};
  uint32_t threads = 0;
  uint32_t idle = 0;
  uint32_t running = 0;
  std::map<Share, uint32_t> users_running = {};
  VolumeLane last = {};
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_VOLUME_CREW_H_
