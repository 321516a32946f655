#include "daemon/residency/reaper.h"

#include <iterator>
#include <utility>

#include "common/status_macros.h"

namespace weightd {

absl::Status Reaper::Start() {
  ASSIGN_OR_RETURN(thread_, executor_.Start("reaper", [this] { Work(); }));
  return absl::OkStatus();
}

void Reaper::FreeLater(std::vector<Doomed> doomed) {
  if (doomed.empty()) return;
  absl::MutexLock lock(&mu_);
  std::move(doomed.begin(), doomed.end(), std::back_inserter(doomed_));
}

void Reaper::Work() {
  while (true) {
    std::vector<Doomed> doomed;
    {
      absl::MutexLock lock(&mu_);
      executor_.Await(mu_, absl::Condition(this, &Reaper::HasWork), absl::InfiniteDuration());
      if (doomed_.empty()) return;
      doomed.swap(doomed_);
    }
    evictor_.Free(std::move(doomed));
  }
}

void Reaper::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  thread_.Join();
  Work();  // where there was no thread
}

}  // namespace weightd
