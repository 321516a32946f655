#ifndef WEIGHTD_DAEMON_RESIDENCY_REFRESHER_H_
#define WEIGHTD_DAEMON_RESIDENCY_REFRESHER_H_

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "daemon/catalog/catalog_diff.h"
#include "daemon/residency/residency.h"
#include "daemon/residency/wish_list.h"

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

// Models that a configuration may name to be preloaded.
inline constexpr size_t kPreloadsMax = 4096;

// Publishes an event for each change of the volume, and stages what the policy says. Whatever the
// policy, a model that is wanted (preloaded or pinned) and not resident is staged when it comes.
// Thread-safe; does not block on I/O.
class Refresher {
 public:
  // `wishes` makes the jobs. Everything referenced must outlive it.
  Refresher(RefresherOptions options, Residency& residency, EventLog& events, WishList& wishes);

  // From the next change on.
  void set_options(RefresherOptions options);
  std::vector<std::string> preload() const { return options().preload; }
  bool IsPreloaded(const std::string& model) const;

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
  WishList& wishes_;

  mutable absl::Mutex mu_;
  RefresherOptions options_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_REFRESHER_H_
