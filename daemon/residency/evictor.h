#ifndef WEIGHTD_DAEMON_RESIDENCY_EVICTOR_H_
#define WEIGHTD_DAEMON_RESIDENCY_EVICTOR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "daemon/device/device.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/residency_table.h"
#include "daemon/staging/stager.h"

namespace weightd {

// Gives back what the books doomed: keeps a host copy where they allow it and have room, destroys
// the allocation, tells the books, publishes an event each.
//
// Thread-safe; blocks for as long as copying and freeing take.
class Evictor {
 public:
  // `devices` hold at most one host. All must outlive it.
  Evictor(ResidencyTable& table, const std::vector<std::shared_ptr<Device>>& devices,
          EventLog& events, const Clock& clock);
  // Copies need it: nothing is kept before it is set, once, before the threads start.
  void set_stager(Stager* stager) { stager_ = stager; }

  void Free(std::vector<Doomed> doomed);
  // Likewise; the bytes of those that the host tier has kept.
  uint64_t FreeAndTell(std::vector<Doomed> doomed);

 private:
  // Returns its bytes to the books.
  void FreeOne(Doomed& doomed);
  // Whether the host tier has it now.
  bool Demote(const Doomed& doomed);
  absl::StatusOr<CopyId> TakeHostBytes(const Doomed& doomed, uint64_t bytes);
  absl::Status FillHostCopy(const Doomed& doomed, CopyId copy, uint64_t bytes);

  ResidencyTable& table_;
  const std::vector<std::shared_ptr<Device>>& devices_;
  EventLog& events_;
  const Clock& clock_;
  Device* host_ = nullptr;    // fixed at construction
  Stager* stager_ = nullptr;  // fixed before the first use
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_EVICTOR_H_
