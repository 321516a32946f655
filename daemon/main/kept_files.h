#ifndef WEIGHTD_DAEMON_MAIN_KEPT_FILES_H_
#define WEIGHTD_DAEMON_MAIN_KEPT_FILES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/clock.h"
#include "common/warning.h"
#include "daemon/config/daemon_options.h"
#include "daemon/main/logger.h"
#include "daemon/residency/deferred_writer.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/residency.h"
#include "daemon/residency/saved_state.h"

// The files that the daemon keeps while it runs: its state, and labels of the node.

namespace weightd {

// What the daemon before this one left.
struct LoadedState {
  SavedState state;
  Warnings warnings;    // what is lost is an operator's wish: said, and no reason not to start
  std::string problem;  // why the file must not be written; empty: it may be
  std::shared_ptr<StateLock> lock;  // null with a problem
};
// `self` is what another daemon is told that is given the same file: see StateLock.
LoadedState LoadState(const std::string& path, const std::string& self);

// Keeps them until Stop(). Thread-compatible.
class KeptFiles {
 public:
  // Everything outlives it.
  KeptFiles(const DaemonOptions& options, const Clock& clock, Residency& residency,
            EventLog& events, Logger& logger)
      : options_(options), clock_(clock), residency_(residency), events_(events), logger_(logger) {}
  KeptFiles(const KeptFiles&) = delete;
  KeptFiles& operator=(const KeptFiles&) = delete;
  ~KeptFiles() { Stop(); }

  // Pins matter to an operator; the order of uses may be some seconds old. A file that cannot be
  // written is said before anybody pins.
  // `lock` is let go of by Stop().
  absl::Status KeepState(std::shared_ptr<StateLock> lock);
  // Labels follow within a second; what the daemon before this one told is replaced at once.
  absl::Status TellNodeFeatures();
  // Writes what changed last. A volume that hangs takes DeferredWriter::kStopTimeout, both files
  // together, and is left behind.
  void Stop();

  // Null where it is not kept.
  DeferredWriter* state() const { return state_.get(); }

 private:
  void Watch(EventLog::Watcher watcher);

  const DaemonOptions& options_;
  const Clock& clock_;
  Residency& residency_;
  EventLog& events_;
  Logger& logger_;
  std::shared_ptr<StateLock> lock_;
  std::unique_ptr<DeferredWriter> state_;
  std::unique_ptr<DeferredWriter> node_features_;
  std::vector<uint64_t> watches_;  // of the event log
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_KEPT_FILES_H_
