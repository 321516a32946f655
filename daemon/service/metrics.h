#ifndef WEIGHTD_DAEMON_SERVICE_METRICS_H_
#define WEIGHTD_DAEMON_SERVICE_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/lease/lease_table.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/residency.h"

namespace weightd {

// What the daemon tells Prometheus: what is, asked of residency and leases at each scrape, and what
// happened, counted from the event log. Names and units follow Prometheus' conventions. Labels are
// devices and words of ours alone: nothing that a client or a volume can make more of.
//
// Thread-safe.
class Metrics final : public prometheus::Collectable {
 public:
  // All outlive it.
  Metrics(const std::string& version, const Residency& residency, const LeaseTable& leases,
          EventLog& events);
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  ~Metrics() override;

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  void Count(const Event& event);

  const std::string version_;
  const Residency& residency_;
  const LeaseTable& leases_;
  EventLog& events_;
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& stages_;
  prometheus::Family<prometheus::Counter>& staged_bytes_;
  prometheus::Family<prometheus::Counter>& evictions_;
  prometheus::Family<prometheus::Counter>& demotions_;
  prometheus::Family<prometheus::Counter>& verified_bytes_;
  prometheus::Family<prometheus::Counter>& verifications_;
  prometheus::Family<prometheus::Counter>& verify_failures_;
  uint64_t watch_ = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_METRICS_H_
