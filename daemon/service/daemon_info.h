#ifndef WEIGHTD_DAEMON_SERVICE_DAEMON_INFO_H_
#define WEIGHTD_DAEMON_SERVICE_DAEMON_INFO_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/warning.h"
#include "daemon/catalog/catalog_watcher.h"
#include "daemon/catalog/root_check.h"
#include "daemon/residency/deferred_writer.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd {

// What GetStatus and Diagnose say of the daemon as a whole.
struct DaemonInfo {
  std::string version;
  absl::Time start_time;
  std::vector<std::string> roots;
  std::string socket_dir;
  std::string engine_reason;  // why not io_uring; empty if it is
  std::string state_file;     // empty: nothing is kept
  // Writes it; null without one, and where it could not be read: then why.
  DeferredWriter* state = nullptr;
  std::string state_problem;
  Warnings warnings;  // `state`'s not among them: AllWarnings()
  // What is known of the roots, now.
  std::function<std::vector<RootLook>()> looks;
  // For Diagnose: with `read`, also how fast they are.
  std::function<std::vector<RootFacts>(bool read)> check_roots;
  bool uses_cuda = true;  // the configuration lets it
};

// Why the state file does not hold what is pinned; empty: it does, or there is none.
std::string StateError(const DaemonInfo& info);
void FillStateFile(const DaemonInfo& info, v1::StateFile& file);
// Of the daemon as a whole, now.
Warnings AllWarnings(const DaemonInfo& info);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_DAEMON_INFO_H_
