#ifndef WEIGHTD_CLIENT_CLI_TOP_VIEW_H_
#define WEIGHTD_CLIENT_CLI_TOP_VIEW_H_

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd::cli {

// One look at the daemon.
struct TopLook {
  absl::Time time;
  v1::GetStatusResponse status;
  v1::ListModelsResponse models;  // in memory
  v1::ListLeasesResponse leases;
};

// What `weightctl top` shows of one look after the other. Thread-compatible.
class TopView {
 public:
  // With the rates since the look before. `color`: titles in bold.
  void Show(const TopLook& look, bool color, std::ostream& out);

 private:
  struct Progress {
    absl::Time time;
    uint64_t bytes = 0;
  };
  using Place = std::pair<uint64_t, std::string>;  // job and device

  uint64_t RateOf(const v1::Generation& generation, absl::Time now) const;
  void ShowStages(const TopLook& look, bool color, std::ostream& out);

  std::map<Place, Progress> before_;
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_TOP_VIEW_H_
