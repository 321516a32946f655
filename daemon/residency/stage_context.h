#ifndef WEIGHTD_DAEMON_RESIDENCY_STAGE_CONTEXT_H_
#define WEIGHTD_DAEMON_RESIDENCY_STAGE_CONTEXT_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "daemon/catalog/catalog.h"
#include "daemon/device/device.h"
#include "daemon/residency/copy_hold.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/evictor.h"
#include "daemon/residency/report_log.h"
#include "daemon/residency/residency_table.h"
#include "daemon/residency/stage_job.h"
#include "daemon/staging/key_source.h"

namespace weightd {

// When a model was last used on a device.
using LastUses = std::map<std::pair<std::string, std::string>, absl::Time>;

// What every stage needs. All of it outlives the stages, and is thread-safe or fixed.
struct StageContext {
  const Catalog& catalog;
  ResidencyTable& table;
  Evictor& evictor;
  const std::vector<std::shared_ptr<Device>>& devices;
  EventLog& events;
  ReportLog& reports;
  const Clock& clock;
  const KeySource& keys;
  // Of the daemon before this one.
  const LastUses& last_uses;
  // For a CopyHold: must not block.
  std::function<void(CopyId)> unhold;
  // A held copy was superseded. Must not block.
  std::function<void(const CopyInfo& old, GenerationId newer)> on_superseded;
  // JobRunner::MoveTo(). Without it jobs stay where they are.
  std::function<bool(const std::shared_ptr<StageJob>& job, const std::string& lane)> move_to_lane =
      nullptr;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_STAGE_CONTEXT_H_
