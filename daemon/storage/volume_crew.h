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

#include "absl/time/time.h"

// What VolumeThreads have to do, and whose turn it is. Thread-compatible: guarded by their lock.

namespace weightd {

// What VolumeThreads::Call() waits for.
struct VolumeTicket {
  std::string what;
  std::set<uint64_t> volumes;
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

// What is to be done at one set of volumes below the root.
struct VolumeLane {
  std::deque<VolumeTask> tasks;
  uint32_t running = 0;
};

// Threads that take their tasks from all lanes in turn, of one lane only so many at once.
struct VolumeCrew {
  using Lanes = std::map<std::set<uint64_t>, VolumeLane>;

  bool MayBegin(const VolumeLane& lane) const {
    return !lane.tasks.empty() && lane.running < lane_threads_max;
  }
  // Tasks that threads without one could begin.
  size_t CountReady() const {
    size_t count = 0;
    for (const auto& [volumes, lane] : lanes) {
      if (MayBegin(lane)) {
        count += std::min<size_t>(lane.tasks.size(), lane_threads_max - lane.running);
      }
    }
    return count;
  }
  // The lane whose turn it is; end() without any.
  Lanes::iterator Next() {
    auto next = lanes.upper_bound(last);
    for (size_t i = 0; i < lanes.size(); ++i, ++next) {
      if (next == lanes.end()) next = lanes.begin();
      if (MayBegin(next->second)) return next;
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
  std::set<uint64_t> last = {};
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_VOLUME_CREW_H_
