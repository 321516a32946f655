#ifndef WEIGHTD_DAEMON_SERVICE_METRIC_SNAPSHOT_H_
#define WEIGHTD_DAEMON_SERVICE_METRIC_SNAPSHOT_H_

#include <prometheus/labels.h>
#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "daemon/catalog/catalog_watcher.h"
#include "daemon/lease/lease_table.h"
#include "daemon/residency/residency.h"
#include "daemon/service/access_list.h"
#include "daemon/service/refusal_counts.h"
#include "daemon/service/uid_limits.h"

namespace weightd {

// Families of metrics whose values are asked for at a scrape.
class MetricSnapshot {
 public:
  void AddGauge(const std::string& name, const std::string& help) {
    Add(name, help, prometheus::MetricType::Gauge);
  }
  void AddCounter(const std::string& name, const std::string& help) {
    Add(name, help, prometheus::MetricType::Counter);
  }
  // Of the family added last.
  void Value(const prometheus::Labels& labels, double value);
  std::vector<prometheus::MetricFamily> Take() { return std::move(families_); }

 private:
  void Add(const std::string& name, const std::string& help, prometheus::MetricType type);

  std::vector<prometheus::MetricFamily> families_;
};

// "host" or "device": the word of the design for where a device's copies are.
std::string TierName(DeviceKind kind);

// How the daemon works: engine, pages, what it does without.
void AddReadPath(const Residency& residency, size_t daemon_warnings, MetricSnapshot& snapshot);
// What is in memory, and what drivers failed at.
void AddDevices(const Residency& residency, MetricSnapshot& snapshot);
// What volumes do not answer, by root.
void AddVolumes(const Residency& residency, const std::vector<std::string>& roots,
                MetricSnapshot& snapshot);
// What is wanted of it now.
void AddWork(const Residency& residency, const LeaseTable& leases, MetricSnapshot& snapshot);
// How the roots are.
void AddVolumes(const std::vector<RootLook>& looks, MetricSnapshot& snapshot);
// Who was refused.
void AddAccess(const AccessList& access, MetricSnapshot& snapshot);
// What clients take while they are there, and how often there was no more to take.
void AddUidLimits(const UidLimits& limits, size_t table_bytes, MetricSnapshot& snapshot);
// What was refused, and why.
void AddRefusals(const RefusalCounts& refusals, MetricSnapshot& snapshot);
// process_*, as Prometheus' client libraries name them; those that /proc does not tell are left
// out.
void AddProcess(absl::Time start_time, MetricSnapshot& snapshot);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_METRIC_SNAPSHOT_H_
