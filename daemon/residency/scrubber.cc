#include "daemon/residency/scrubber.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace weightd {

absl::Status ScrubOptions::Validate() const {
  if (interval == absl::ZeroDuration() || interval >= absl::Seconds(1)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "scrub interval is ", absl::FormatDuration(interval), ", wanted 1s or more, or 0 for never"));
}

absl::Status Scrubber::Start() {
  if (options_.interval <= absl::ZeroDuration()) return absl::OkStatus();
  ASSIGN_OR_RETURN(thread_, executor_.Start("scrub", [this] { Loop(); }));
  return absl::OkStatus();
}

Scrubber::~Scrubber() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  thread_.Join();
}

bool Scrubber::stops() const {
  absl::MutexLock lock(&mu_);
  return stops_;
}

void Scrubber::Loop() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      if (executor_.Await(mu_, absl::Condition(&stops_), options_.interval)) return;
    }
    Round();
  }
}

void Scrubber::Round() {
  for (const CopyInfo& copy : table_.List()) {
    if (copy.state != ResidencyState::kResident || copy.damaged || stops()) continue;
    // It may have gone meanwhile, or have no digests: then there is nothing to scrub.
    (void)verifier_.Verify({.model = copy.model, .generation = copy.id.value(), .revision = ""},
                           copy.device,
                           {.bytes_per_second_max = options_.bytes_per_second,
                            .cancelled = [this] { return stops(); }});
  }
}

}  // namespace weightd
