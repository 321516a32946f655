#ifndef WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_TABLE_H_
#define WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "daemon/residency/generation.h"

// The books: which generations there are, in which state, who may go, and what each device's budget
// still has. Decides and records; reads nothing, frees nothing.
//
// What must be freed is handed to the caller as Doomed: the caller destroys the allocation, outside
// any lock, and then calls Freed(), which gives the bytes back to the budget. So the sum of
// allocations never exceeds a budget, not even for the time that freeing takes.
//
// Thread-safe. No call but AwaitFreed() blocks on anything but the lock.

namespace weightd {

struct DeviceBudget {
  std::string device;
  DeviceKind kind = DeviceKind::kHost;
  uint64_t bytes = 0;
};

struct DeviceUsage {
  DeviceBudget budget;
  uint64_t used_bytes = 0;     // everything below, and what is unleased and unpinned
  uint64_t staging_bytes = 0;  // being staged
  uint64_t leased_bytes = 0;
  uint64_t pinned_bytes = 0;
};

// A generation whose memory must go now.
struct Doomed {
  GenerationInfo info;
  std::shared_ptr<Allocation> allocation;  // the last reference outside the caller
  std::string why;                         // "room for org/name", "superseded", "requested"
};

// What Admit() decided. `id` is valid and the bytes are taken; or Admit() must be called again,
// when the `victims` are freed or, if there are none, when AwaitFreed() returned: then others are
// giving back bytes that will do.
struct Admission {
  GenerationId id;
  std::vector<Doomed> victims;
  uint64_t freed_count = 0;  // for AwaitFreed()
};

// What a lease stands on.
struct HeldGeneration {
  std::shared_ptr<const GenerationContent> content;
  std::shared_ptr<Allocation> allocation;  // drop before Release()
};

class ResidencyTable {
 public:
  explicit ResidencyTable(const std::vector<DeviceBudget>& budgets);

  // Takes `bytes` of `device` for a new generation in kStaging. RESOURCE_EXHAUSTED/BUDGET_EXCEEDED
  // with the numbers when it does not fit even after evicting everything that may go, least
  // recently used first: then nothing is evicted.
  absl::StatusOr<Admission> Admit(const std::string& model, const std::string& device,
                                  uint64_t bytes);
  // Waits until memory was given back since `admission` was decided, or for `timeout`.
  void AwaitFreed(const Admission& admission, absl::Duration timeout) const;

  // kStaging -> kResident; from here on it can be leased. An older generation of the same model on
  // the same device is superseded: it goes now (returned) or with its last lease; its pin moves
  // over.
  std::vector<Doomed> Publish(GenerationId id, std::shared_ptr<const GenerationContent> content,
                              std::shared_ptr<Allocation> allocation, bool pin, absl::Time now);

  // kStaging -> kFailed. The caller frees what it allocated and calls Freed().
  void Fail(GenerationId id);

  // The memory of a doomed or failed generation is back with the driver or the system.
  void Freed(GenerationId id);

  // kResident -> kEvicting on `device`, or everywhere if empty. MODEL_NOT_RESIDENT, MODEL_LEASED
  // or, for a pinned one, MODEL_BUSY: then nothing moves.
  absl::StatusOr<std::vector<Doomed>> Evict(const std::string& model, const std::string& device);

  // All unleased generations, pinned or not: for shutting down.
  std::vector<Doomed> EvictAll();

  // On `device`, or everywhere if empty. Returns what is resident, after the change.
  absl::StatusOr<std::vector<GenerationInfo>> SetPinned(const std::string& model,
                                                        const std::string& device, bool pinned);

  // Counts one lease on the resident generation of `model` on `device`; if empty, on
  // `preferred_device` or else on any. FAILED_PRECONDITION/MODEL_NOT_RESIDENT.
  absl::StatusOr<HeldGeneration> Acquire(const std::string& model, const std::string& device,
                                         const std::string& preferred_device, absl::Time now);
  // Ends one lease, which is a use too. Returns the generation if it was superseded and this was
  // its last.
  std::vector<Doomed> Release(GenerationId id, absl::Time now);

  // The resident generation of `model` on `device` if it was read from these very files, else null.
  // It counts as used, and `pin` pins it.
  std::shared_ptr<const GenerationContent> Use(const std::string& model, const std::string& device,
                                               const std::vector<FileIdentity>& identities,
                                               bool pin, absl::Time now);

  // What took the place of a generation that is leased, if anything did.
  GenerationId SupersededBy(GenerationId id) const;

  // By model, then id; of one model if not empty.
  std::vector<GenerationInfo> List(const std::string& model = "") const;
  std::vector<DeviceUsage> Usage() const;

 private:
  struct Record {
    GenerationInfo info;
    std::shared_ptr<Allocation> allocation;
    GenerationId superseded_by;
  };

  Record& At(GenerationId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Move(Record& record, ResidencyState to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Doomed Doom(Record& record, std::string why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  DeviceUsage UsageOf(const DeviceBudget& budget) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Resident, not superseded; an empty device matches all.
  std::vector<Record*> Resident(absl::string_view model, absl::string_view device)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t GoingBytes(const std::string& device) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  std::vector<Record*> EvictionOrder(const std::string& device) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::vector<DeviceBudget> budgets_;  // fixed at construction
  mutable absl::Mutex mu_;             // never held across I/O, a CUDA call or an RPC reply
  std::map<GenerationId, Record> records_ ABSL_GUARDED_BY(mu_);
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t freed_count_ ABSL_GUARDED_BY(mu_) = 0;  // calls of Freed()
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_TABLE_H_
