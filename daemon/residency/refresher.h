#ifndef WEIGHTD_DAEMON_RESIDENCY_REFRESHER_H_
#define WEIGHTD_DAEMON_RESIDENCY_REFRESHER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "daemon/catalog/catalog_diff.h"
#include "daemon/residency/residency.h"

namespace weightd {

// What the daemon does by itself about a model that changed on the volume.
enum class RefreshPolicy {
  kOnRequest,  // tells, and stages it when somebody asks
  kKeepFresh,  // stages what is resident anew
};

struct RefresherOptions {
  RefreshPolicy policy = RefreshPolicy::kOnRequest;
  std::vector<std::string> preload = {};  // wanted on the default device, as the configuration says
  bool preload_pin = false;
};

// Publishes an event for each change of the volume, and stages what the policy says. Whatever the
// policy, a model that is wanted (preloaded or pinned) and not resident is staged when it comes.
// Thread-safe; does not block on I/O.
class Refresher {
 public:
  // `on_refused`: the queue does not take the job. Everything referenced must outlive it.
  Refresher(RefresherOptions options, Residency& residency, EventLog& events,
            std::function<void(const std::string& model, const absl::Status&)> on_refused);

  // From the next change on.
  void set_options(RefresherOptions options);
  std::vector<std::string> preload() const { return options().preload; }

  // What came between the daemon's own attempt to stage what is wanted and the first look.
  void OnFirstLook(const std::vector<Checkpoint>& checkpoints);
  void OnChanges(const std::vector<CatalogChange>& changes);

 private:
  RefresherOptions options() const;
  // Where `model` is to be staged under `policy`.
  std::vector<std::string> DevicesFor(const std::string& model, RefreshPolicy policy,
                                      bool preloaded) const;
  void Stage(const std::string& model, RefreshPolicy policy, const RefresherOptions& options);

  Residency& residency_;
  EventLog& events_;
  const std::function<void(const std::string&, const absl::Status&)> on_refused_;

  mutable absl::Mutex mu_;
  RefresherOptions options_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_REFRESHER_H_
