#ifndef WEIGHTD_DAEMON_RESIDENCY_VERIFIER_H_
#define WEIGHTD_DAEMON_RESIDENCY_VERIFIER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/executor.h"
#include "daemon/catalog/model_ref.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/generation.h"
#include "daemon/residency/residency_table.h"
#include "daemon/staging/rate_limit.h"
#include "daemon/staging/verify_run.h"

namespace weightd {

// What was found of one copy.
struct VerifiedCopy {
  CopyInfo info;
  uint64_t tensors = 0;
  uint64_t bytes = 0;
  std::vector<std::string> damaged_tensors;  // their names; empty is good
  bool has_digests = true;                   // else there was nothing to compare with
};

struct VerifyLimits {
  uint64_t bytes_per_second_max = 0;  // 0 is no limit
  std::function<bool()> cancelled = {};
};

// Reads resident copies again and compares them with the digests of their stage. One that differs
// is marked in the books (no lease is granted on it, nothing is made from it), told of by an event,
// and its lease holders are told. Copies are held for a moment at a time, so that they can be
// evicted meanwhile. Thread-safe.
class Verifier {
 public:
  using DamageListener = std::function<void(CopyId damaged)>;

  // All outlive it. `unhold` ends a brief hold; it and `on_damaged` must not block.
  Verifier(ResidencyTable& table, EventLog& events, Executor& executor,
           std::function<void(CopyId)> unhold, DamageListener on_damaged)
      : table_(table),
        events_(events),
        executor_(executor),
        unhold_(std::move(unhold)),
        on_damaged_(std::move(on_damaged)) {}

  // The copies that `ref` names, on one device or, if `device` is empty, on all.
  // FAILED_PRECONDITION/MODEL_NOT_RESIDENT; DIGEST_MISSING where none of them has digests;
  // CANCELLED; the device's errors.
  absl::StatusOr<std::vector<VerifiedCopy>> Verify(const ModelRef& ref, const std::string& device,
                                                   const VerifyLimits& limits);

 private:
  absl::StatusOr<VerifiedCopy> VerifyOne(const CopyInfo& info, const VerifyLimits& limits);
  // Waits until `rate` allows more.
  absl::Status WaitFor(const RateLimit& rate, const VerifyLimits& limits) const;
  absl::Status VerifySteps(CopyId copy, VerifyRun& run, const VerifyLimits& limits);
  void Tell(const VerifiedCopy& verified);

  ResidencyTable& table_;
  EventLog& events_;
  Executor& executor_;
  const std::function<void(CopyId)> unhold_;
  const DamageListener on_damaged_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_VERIFIER_H_
