#ifndef WEIGHTD_DAEMON_MAIN_LOCK_ORDER_H_
#define WEIGHTD_DAEMON_MAIN_LOCK_ORDER_H_

// In which order locks are taken.
//
// Nothing is called, written or built while a lock is held: who is to be told is collected under it
// and told after it (common/outbox.h). So hardly any thread holds two locks. Where one does, it is
// one of these pairs, the first taken first:
//
//   LeaseTable::mu_    ResidencyTable::mu_  a grant looks whether its copy is still resident
//   Residency::mu_     StageJob::mu_        the queue looks at its jobs
//   StageJob::mu_      Outbox::mu_          observers' states are put
//   LeaseTable::mu_    Outbox::mu_          notices are put
//
// clang checks who holds what (-Wthread-safety, preset clang), and Abseil the order as it happens:
// in builds with WEIGHTD_LOCK_CHECKS (all presets but release) a pair that was taken both ways ends
// the process and prints both stacks, whether or not the two threads met.

namespace weightd {

#if WEIGHTD_LOCK_CHECKS
inline constexpr bool kLockChecks = true;
#else
inline constexpr bool kLockChecks = false;
#endif

// Turns Abseil's check on or, where it would cost time for nothing, off: Debian's Abseil has it on.
void CheckLockOrder();

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_LOCK_ORDER_H_
