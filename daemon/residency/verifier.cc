#include "daemon/residency/verifier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

// What is read while a copy is held: some milliseconds.
constexpr uint64_t kStepBytes = 64 * kMiB;
// Of a run with a limit: so that it does not come in bursts.
constexpr uint64_t kLimitedStepBytes = 4 * kMiB;
constexpr absl::Duration kLongestSleep = absl::Milliseconds(100);

bool IsCancelled(const VerifyLimits& limits) { return limits.cancelled && limits.cancelled(); }

}  // namespace

absl::StatusOr<std::vector<VerifiedCopy>> Verifier::Verify(const ModelRef& ref,
                                                           const std::string& device,
                                                           const VerifyLimits& limits) {
  ASSIGN_OR_RETURN(const std::vector<CopyInfo> copies, table_.ResidentOf(ref, device));
  std::vector<VerifiedCopy> verified;
  for (const CopyInfo& copy : copies) {
    ASSIGN_OR_RETURN(VerifiedCopy one, VerifyOne(copy, limits));
    verified.push_back(std::move(one));
  }
  if (std::any_of(verified.begin(), verified.end(),
                  [](const VerifiedCopy& copy) { return copy.has_digests; })) {
    return verified;
  }
  return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kDigestMissing,
                         absl::StrCat("verify ", ToString(ref),
                                      ": it was staged with verify NONE, so there are no digests; "
                                      "stage it again with FAST"));
}

absl::Status Verifier::WaitFor(const RateLimit& rate, const VerifyLimits& limits) const {
  for (absl::Time now = executor_.SteadyNow(); !IsCancelled(limits); now = executor_.SteadyNow()) {
    if (now >= rate.free_at()) return absl::OkStatus();
    executor_.Sleep(std::min(rate.free_at() - now, kLongestSleep));
  }
  return ErrorWithReason(absl::StatusCode::kCancelled, Reason::kCancelled, "verify: cancelled");
}

absl::Status Verifier::VerifySteps(CopyId copy, VerifyRun& run, const VerifyLimits& limits) {
  RateLimit rate(limits.bytes_per_second_max);
  const uint64_t step_bytes = limits.bytes_per_second_max > 0 ? kLimitedStepBytes : kStepBytes;
  while (!run.done()) {
    RETURN_IF_ERROR(WaitFor(rate, limits));
    const uint64_t before = run.bytes_done();
    ASSIGN_OR_RETURN(HeldCopy held, table_.HoldBriefly(copy));
    const absl::Status stepped = run.Step(*held.allocation, step_bytes);
    held = {};
    unhold_(copy);
    RETURN_IF_ERROR(stepped);
    rate.Take(run.bytes_done() - before, executor_.SteadyNow());
  }
  return absl::OkStatus();
}

absl::StatusOr<VerifiedCopy> Verifier::VerifyOne(const CopyInfo& info, const VerifyLimits& limits) {
  VerifiedCopy verified;
  verified.info = info;
  const CopyContent& content = *info.content;
  verified.has_digests = content.digests != nullptr;
  if (!verified.has_digests) return verified;
  VerifyRun run(content.manifest, content.layout, content.digests);
  RETURN_IF_ERROR(VerifySteps(info.copy, run, limits));
  verified.tensors = run.tensors_done();
  verified.bytes = run.bytes_done();
  for (const size_t index : run.different()) {
    verified.damaged_tensors.push_back(content.manifest->tensors[index].name);
  }
  if (!run.different().empty()) table_.MarkDamaged(info.copy);
  Tell(verified);
  return verified;
}

void Verifier::Tell(const VerifiedCopy& verified) {
  const bool is_damaged = !verified.damaged_tensors.empty();
  const EventCopy copy = ToEventCopy(verified.info);
  events_.Publish(
      is_damaged
          ? Event::Damaged(copy, verified.bytes,
                           absl::StrCat(verified.damaged_tensors.size(), " of ", verified.tensors,
                                        " tensors differ from what was staged, the first is ",
                                        Quoted(verified.damaged_tensors.front())))
          : Event::Verified(copy, verified.bytes));
  if (is_damaged) on_damaged_(verified.info.copy);
}

}  // namespace weightd
