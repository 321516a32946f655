#ifndef WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_TABLE_H_
#define WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/executor.h"
#include "daemon/catalog/model_ref.h"
#include "daemon/residency/generation.h"
#include "daemon/residency/table_types.h"

namespace weightd {

// FAILED_PRECONDITION/INTEGRITY_FAILED, of a copy that was marked.
absl::Status DamagedError(const std::string& model, const std::string& device);
// FAILED_PRECONDITION/MODEL_BUSY, of a copy in kRevoking.
absl::Status EvictedByForceError(const std::string& model, const std::string& device);

// The books: which copies there are, in which state, who may go, who is pinned, and what each
// device's budget still has. Decides and records; reads nothing, copies nothing, frees nothing.
//
// What must be freed is handed to the caller as Doomed: the caller destroys the allocation, outside
// any lock, and then calls Freed(), which gives the bytes back to the budget. So the sum of
// allocations never exceeds a budget, not even for the time that freeing takes.
//
// Where a ModelRef names neither a generation nor a revision, the copy that follows the volume is
// meant; superseded ones only where their generation is named. "On any device" is an empty name.
//
// Thread-safe. No call but AwaitChange() blocks on anything but the lock, and on brief holds.
class ResidencyTable {
 public:
  // `executor` outlives it.
  ResidencyTable(TableOptions options, Executor& executor);

  // Takes the bytes of all places for copies in kStaging, or of none: see Admission.
  // RESOURCE_EXHAUSTED/BUDGET_EXCEEDED with the numbers of the first device on which it does not
  // fit even after evicting everything there that may go, least recently used first: then nothing
  // is evicted.
  absl::StatusOr<Admission> Admit(const StageClaim& claim);
  // Waits for memory that others give back: until something changed since `admission` was decided,
  // or for a moment, so that a cancel is seen.
  void AwaitChange(const Admission& admission) const;

  // kStaging -> kResident, all at once; from here on they can be leased. An older copy that follows
  // the volume on the same device is superseded, and so are the host copies of older generations:
  // those go now (returned) or with their last holder. Each copy gets a hold, which the caller
  // gives back with Unhold(). `pin` pins them.
  PublishResult Publish(std::vector<StagedCopy> copies, bool pin, absl::Time last_use);

  // kStaging -> kFailed. The caller frees what it allocated and calls Freed(). `stuck`: not before
  // a volume that hangs answers, so that nobody waits for it.
  void Fail(CopyId id, bool stuck = false);
  // Of a copy that failed and is stuck: so much of its memory is not given back yet.
  void SetLeftBytes(CopyId id, uint64_t bytes);
  // kDemoting -> kEvicting: the host tier has a copy now, or will not.
  void DemotionEnded(CopyId id);
  // The memory of a doomed or failed copy is back with the driver or the system.
  void Freed(CopyId id);

  // kResident -> kEvicting, kDemoting or, with `force` and while it is held, kRevoking.
  // MODEL_NOT_RESIDENT; without `force` MODEL_LEASED or, for what is pinned or held by the daemon,
  // MODEL_BUSY: then nothing moves.
  absl::StatusOr<EvictPlan> Evict(const ModelRef& ref, const std::string& device, bool force);
  // All that nobody holds, pinned or not: for shutting down.
  std::vector<Doomed> EvictAll();

  // Pins or unpins what is resident, and returns it after the change. A pin is of the name alone:
  // that of a revision stays with its files when the model gets others. Unpinning takes back the
  // pin of that name, also where it is not resident, and by generation all that stand on its
  // copies. MODEL_NOT_RESIDENT when there is neither copy nor pin; MODEL_BUSY where it changes
  // nothing, and another name's pin stands on the copy.
  absl::StatusOr<std::vector<CopyInfo>> SetPinned(const ModelRef& ref, const std::string& device,
                                                  bool pinned);
  std::vector<Pin> pins() const;
  // Pins of a daemon that ended, before anything is resident.
  void RestorePins(const std::vector<Pin>& pins);

  // Counts one lease on the resident copy on `device`; if empty, on the newest generation's.
  // FAILED_PRECONDITION/MODEL_NOT_RESIDENT, or MODEL_BUSY while it is evicted by force.
  absl::StatusOr<HeldCopy> Acquire(const ModelRef& ref, const std::string& device, absl::Time now);
  // Likewise, of a copy that the caller has a hold on. MODEL_BUSY.
  absl::StatusOr<HeldCopy> AcquireHeld(CopyId id, absl::Time now);
  // Ends one lease, which is a use too. Returns the copy if it is to go and this was its last
  // holder.
  std::vector<Doomed> Release(CopyId id, absl::Time now);

  // Takes a hold on a copy to make others from: the newest generation's that `ref` names, on the
  // host if it is there. MODEL_NOT_RESIDENT.
  absl::StatusOr<HeldCopy> HoldAny(const ModelRef& ref);
  // Likewise, of one that was read from these very files; null content if there is none.
  HeldCopy HoldIdentical(const std::string& model, const std::vector<FileIdentity>& identities);
  std::vector<Doomed> Unhold(CopyId id);

  // Takes a hold on a copy for some milliseconds, to read it. Who wants memory waits for such
  // holds, and new ones for him: nothing is refused because of them. MODEL_NOT_RESIDENT when it is
  // not, or not any more.
  absl::StatusOr<HeldCopy> HoldBriefly(CopyId id);
  std::vector<Doomed> UnholdBrief(CopyId id);

  // The resident copies that `ref` names. MODEL_NOT_RESIDENT.
  absl::StatusOr<std::vector<CopyInfo>> ResidentOf(const ModelRef& ref, const std::string& device);
  // Its bytes are not what was staged: no lease is granted on it from here on, and nothing is made
  // from it. It stays for those who have it, and goes like any other.
  void MarkDamaged(CopyId id);

  // The resident copy on `wish.device` that was read from `wish.identities`, which counts as used;
  // null content if there is none. It has a hold. A superseded one will do, and follows the volume
  // again if the volume is back at it.
  UseResult Use(const UseWish& wish, absl::Time now);

  // The devices with a resident copy that `ref` names.
  std::vector<std::string> DevicesOf(const ModelRef& ref) const;
  // Of a copy that is held.
  CopyInfo InfoOf(CopyId id) const;
  // Waits until none of these is in the books any more; false at the deadline.
  bool AwaitGone(const std::vector<CopyInfo>& copies, absl::Time deadline) const;

  // By model, then copy; of one model if not empty.
  std::vector<CopyInfo> List(const std::string& model = "") const;
  std::vector<DeviceUsage> Usage() const;

 private:
  struct Record {
    CopyInfo info;
    std::shared_ptr<Allocation> allocation;
  };
  // What a place of a claim comes to.
  struct Fit {
    bool fits_now = false;
    std::vector<Record*> victims;
    bool fits = false;       // once the victims are gone, and what goes already
    bool would_fit = false;  // if the daemon let go of what it holds, too
  };

  Record& At(CopyId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AwaitBriefHolds() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  const DeviceBudget& BudgetOf(const std::string& device) const;
  uint64_t CopiesOn(const std::string& device) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void Move(Record& record, ResidencyState to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // -> kEvicting, or kDemoting where that may be and `demote` says so.
  Doomed Doom(Record& record, EvictReason reason, std::string why, bool demote = false)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Doomed, if nobody holds it any more and it is not to stay.
  std::vector<Doomed> DoomIfDone(Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MayDemote(const Record& record) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  bool IsPinned(const CopyInfo& info) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Of all the names it was asked for under.
  std::vector<Pin> PinsOn(const CopyInfo& info) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  std::string PinnedRevisionOf(const CopyInfo& info) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // From here on it is `model@revision` alone.
  static void StopFollowing(CopyInfo& info, const std::string& revision);
  void Unpin(const ModelRef& ref, const std::string& device, const std::vector<Record*>& found)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckUnpinned(const ModelRef& ref, const std::vector<Record*>& found) const
      ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void TakePinsOff(const CopyInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MayGoOnceLetGo(const CopyInfo& info) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  bool MayGo(const CopyInfo& info) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  CopyInfo Told(const Record& record) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  DeviceUsage UsageOf(const DeviceBudget& budget) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // In `state`, the newest generation first.
  std::vector<Record*> Find(const ModelRef& ref, const std::string& device,
                            ResidencyState state = ResidencyState::kResident)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Those in kResident that are not damaged. MODEL_NOT_RESIDENT, MODEL_BUSY or DamagedError().
  absl::StatusOr<std::vector<Record*>> FindGood(const ModelRef& ref, const std::string& device)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status NotFound(const ModelRef& ref, const std::string& device)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  HeldCopy Hold(Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Fit FitOf(const ClaimedPlace& place, absl::Time used_before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  CopyId AddRecord(const StageClaim& claim, const ClaimedPlace& place, GenerationId generation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // A pinned revision does not go; it only ceases to follow the volume.
  // `whatever_id`: ids are given when bytes are taken, so that of two that were read at the same
  // time the one with the lower id may be what the volume has now.
  void Supersede(const CopyInfo& newer, bool whatever_id, PublishResult& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Record* FindUsable(const UseWish& wish) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MarkIfReplaced(Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static absl::Status CheckMayEvict(const std::string& model, const CopyInfo& info);

  const TableOptions options_;
  Executor& executor_;
  mutable absl::Mutex mu_;  // never held across I/O, a CUDA call or an RPC reply
  std::map<CopyId, Record> records_ ABSL_GUARDED_BY(mu_);
  std::set<Pin> pins_ ABSL_GUARDED_BY(mu_);
  uint64_t next_generation_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t next_copy_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t change_count_ ABSL_GUARDED_BY(mu_) = 0;  // of memory given back
  uint32_t brief_holds_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t brief_waiters_ ABSL_GUARDED_BY(mu_) = 0;  // for the end of those
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_TABLE_H_
