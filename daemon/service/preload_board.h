#ifndef WEIGHTD_DAEMON_SERVICE_PRELOAD_BOARD_H_
#define WEIGHTD_DAEMON_SERVICE_PRELOAD_BOARD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/residency.h"
#include "daemon/residency/wish_list.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd {

// How the models are that the configuration wants from the start, the last failure of each
// included: the list of reports forgets it after some other stages. Thread-safe.
class PreloadBoard {
 public:
  // `names` tells the models now; it must not block, and must not publish events. Everything
  // outlives the board.
  PreloadBoard(const Residency& residency, EventLog& events, const WishList& wishes,
               std::function<std::vector<std::string>()> names);
  PreloadBoard(const PreloadBoard&) = delete;
  PreloadBoard& operator=(const PreloadBoard&) = delete;
  ~PreloadBoard();

  // No job was made for it, which is no event.
  void Refused(const std::string& name, const absl::Status& status);

  // In the order of the names.
  std::vector<v1::Preload> List() const;

 private:
  struct Failure {
    std::string error;
    std::string reason;
  };

  void OnEvent(const Event& event);
  v1::Preload Look(const std::string& name) const;
  bool IsResident(const std::string& model, const std::string& revision) const;

  const Residency& residency_;
  EventLog& events_;
  const WishList& wishes_;
  const std::function<std::vector<std::string>()> names_;
  uint64_t watch_ = 0;

  mutable absl::Mutex mu_;
  std::map<std::string, Failure> failures_ ABSL_GUARDED_BY(mu_);  // by name as configured
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_PRELOAD_BOARD_H_
