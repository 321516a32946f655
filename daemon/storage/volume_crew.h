#ifndef WEIGHTD_DAEMON_STORAGE_VOLUME_CREW_H_
#define WEIGHTD_DAEMON_STORAGE_VOLUME_CREW_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "daemon/storage/volume_work.h"

// What VolumeThreads have to do, and whose turn it is. Thread-compatible: guarded by their lock.

namespace weightd {

// What VolumeThreads::Call() waits for.
struct VolumeTicket {
  std::string what;
  VolumeLane lane;
  absl::Duration silence;
  absl::Time end;
  // Guarded by the lock of the threads.
  bool begun = false;
  bool done = false;
  absl::Time last_sign;  // when it was asked for, began or got on
};

struct VolumeTask {
  std::string what;
  std::function<void()> run;
  std::shared_ptr<VolumeTicket> ticket;  // null: nobody waits
};

// What is to be done in one lane.
struct VolumeTasks {
  std::deque<VolumeTask> tasks;
  uint32_t running = 0;
};

// Threads that take their tasks from all lanes in turn, of one lane only so many at once, and of a
// user's a quarter of that.
struct VolumeCrew {
  using Lanes = std::map<VolumeLane, VolumeTasks>;
  using Lane = Lanes::value_type;

  uint32_t MostOf(const VolumeLane& lane) const {
    return lane.uid.has_value() ? std::max(1U, lane_threads_max / 4) : lane_threads_max;
  }
  // How many of its tasks threads without one could begin.
  size_t ReadyOf(const Lane& lane) const {
    const uint32_t most = MostOf(lane.first);
    if (lane.second.running >= most) return 0;
    return std::min<size_t>(lane.second.tasks.size(), most - lane.second.running);
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
  void EndIfOver(Lanes::iterator lane) {
    if (lane->second.tasks.empty() && lane->second.running == 0) lanes.erase(lane);
  }

  const uint32_t lane_threads_max;
  const uint32_t threads_max;
  Lanes lanes = {};
  uint32_t threads = 0;
  uint32_t idle = 0;
  VolumeLane last = {};
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_VOLUME_CREW_H_
