#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_JUDGE_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_JUDGE_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/integration/history/history.h"

namespace weightd::testing {

// How much of everything there was: a history in which nothing happened breaks no rule.
struct HistoryFigures {
  int clients = 0;
  int granted = 0;
  int killed = 0;
  int killed_holding = 0;  // with a lease that ended after their death
  int revoked = 0;
  int superseded = 0;
  int refused = 0;
  uint64_t whole_reads = 0;
  int stages = 0;  // that read the volume
  int evictions = 0;
  int demotions = 0;
  int versions = 0;
  uint64_t observations = 0;
  uint64_t used_bytes_max = 0;
  absl::Duration lease_lag_max;  // from a process's end to the event that ended its lease
};
std::ostream& operator<<(std::ostream& out, const HistoryFigures& figures);

struct Verdict {
  std::vector<std::string> breaches;  // a sentence each; empty is good
  HistoryFigures figures;
};

// Holds a history against the invariants of design.md, section 5:
//   - every client read the bytes of the version that it was granted, and of nothing else
//   - what a device uses is never above its budget
//   - a lease is granted on what is resident and ends once; what it is on is not evicted before,
//     except by force; and it ends within a second of its process
//   - a generation is one version of one model, which was on the volume while it was staged
//   - nobody is refused but for a reason that such a run gives
//   - events come without gaps
// Pure function.
Verdict Judge(const History& history);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_JUDGE_H_
