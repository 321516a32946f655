#ifndef WEIGHTD_DAEMON_RESIDENCY_STATE_LOCK_H_
#define WEIGHTD_DAEMON_RESIDENCY_STATE_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/volume_file.h"

namespace weightd {

// Says that a state file is this daemon's: two that share one would each write over the pins of the
// other. An advisory lock (flock(2)) on `.<name>.lock` beside it, which holds as long as this
// object lives, and goes with the process. Its volume is asked by volume calls, also for the end of
// it, and may hang: see CallWithin(). Thread-compatible.
class StateLock {
 public:
  // FAILED_PRECONDITION when another daemon has it, with what that one said of itself; `self` is
  // what this one says: "pid 7, sockets in /run/weightd". Where there is no state file yet, or
  // can be no lock file (a read-only volume, one without locks) the result holds nothing: what
  // cannot be locked can mostly not be written either, which is told elsewhere.
  static absl::StatusOr<StateLock> Take(const std::string& path, absl::string_view self);

  // Whether it is held.
  bool held() const { return file_ != nullptr; }

 private:
  explicit StateLock(std::unique_ptr<VolumeFile> file) : file_(std::move(file)) {}

  std::unique_ptr<VolumeFile> file_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_STATE_LOCK_H_
