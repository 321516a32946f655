#include "daemon/main/lock_order.h"

#include "absl/synchronization/mutex.h"

namespace weightd {

void CheckLockOrder() {
  absl::SetMutexDeadlockDetectionMode(kLockChecks ? absl::OnDeadlockCycle::kAbort
                                                  : absl::OnDeadlockCycle::kIgnore);
}

}  // namespace weightd
