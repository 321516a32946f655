#ifndef WEIGHTD_DAEMON_SERVICE_METRICS_H_
#define WEIGHTD_DAEMON_SERVICE_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "daemon/catalog/catalog_watcher.h"
#include "daemon/lease/lease_table.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/residency.h"
#include "daemon/service/access_list.h"
#include "daemon/service/daemon_info.h"
#include "daemon/service/refusal_counts.h"
#include "daemon/service/tensor_batches.h"
#include "daemon/service/uid_limits.h"

namespace weightd {

// What metrics are made of; all of it outlives them.
struct MetricSources {
  std::string version;
  absl::Time start_time;
  const DaemonInfo& info;
  Residency& residency;
  const LeaseTable& leases;
  EventLog& events;
  const AccessList& access;
  const UidLimits& uid_limits;
  const TensorBatchCache& tables;
  RefusalCounts& refusals;  // of attach and stage they are counted here, from events
  std::function<std::vector<RootLook>()> looks;
  std::function<uint64_t()> log_lines_dropped;
};

// What the daemon tells Prometheus: what is, asked of residency and leases at each scrape, and what
// happened, counted from events and stages that ended. Names and units follow Prometheus'
// conventions, words are those of events and log. Labels are devices, roots and words of ours
// alone: nothing that a client or a volume can make more of. Every series is there from the start:
// one that begins with its first failure cannot be watched for an increase.
//
// deploy/observability/README.md has a table of them, which a test compares with a scrape.
//
// Thread-safe.
class Metrics final : public prometheus::Collectable {
 public:
  // The residency's stage listener is set here.
  explicit Metrics(MetricSources sources);
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  ~Metrics() override;

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  using Counters = prometheus::Family<prometheus::Counter>;
  using Histograms = prometheus::Family<prometheus::Histogram>;

  void Register();
  void RegisterDevice(const DeviceInfo& device);
  Counters& AddCounters(const std::string& name, const std::string& help);
  void Count(const Event& event);
  void CountGrant(const Event& event);
  void CountStage(const StageRecord& record);
  void CountStaged(const StageRecord& record);
  std::string SourceOf(const StageReport& report) const;

  const MetricSources from_;
  std::atomic<bool> draining_ = false;
  prometheus::Registry registry_;
  Counters& leases_granted_;
  Counters& leases_ended_;
  Counters& hits_;
  Counters& misses_;
  Histograms& attach_seconds_;
  Counters& stages_;
  Counters& stage_failures_;
  Counters& stage_fallbacks_;
  Counters& staged_bytes_;
  Counters& stage_seconds_;
  Counters& phase_seconds_;
  Histograms& stage_duration_;
  Counters& read_bytes_;
  Counters& read_retries_;
  Counters& evictions_;
  Counters& demotions_;
  Counters& demotion_failures_;
  Counters& verified_bytes_;
  Counters& verifications_;
  Counters& verify_failures_;
  uint64_t watch_ = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_METRICS_H_
