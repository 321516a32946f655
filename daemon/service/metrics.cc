#include "daemon/service/metrics.h"

#include <utility>

#include "common/errors.h"

namespace weightd {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = prometheus::Labels;

prometheus::Family<prometheus::Counter>& AddCounter(prometheus::Registry& registry,
                                                    const std::string& name,
                                                    const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

class Gauges {
 public:
  void Add(const std::string& name, const std::string& help) {
    families_.push_back({.name = name, .help = help, .type = MetricType::Gauge, .metric = {}});
  }
  // Of the family added last.
  void Value(const Labels& labels, uint64_t value) {
    ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    metric.gauge.value = static_cast<double>(value);
    families_.back().metric.push_back(std::move(metric));
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

void AddMemory(const std::vector<DeviceUsage>& usage, Gauges& gauges) {
  const auto add = [&](const std::string& name, const std::string& help, auto bytes_of) {
    gauges.Add(name, help);
    for (const DeviceUsage& one : usage) {
      gauges.Value({{"device", one.budget.device}}, bytes_of(one));
    }
  };
  add("weightd_memory_budget_bytes", "What weights may take of a device's memory.",
      [](const DeviceUsage& one) { return one.budget.bytes; });
  add("weightd_memory_used_bytes", "What weights take of it, those that are being staged included.",
      [](const DeviceUsage& one) { return one.used_bytes; });
  add("weightd_memory_staging_bytes", "Of these, what is being staged.",
      [](const DeviceUsage& one) { return one.staging_bytes; });
  add("weightd_memory_leased_bytes", "Of these, what clients hold.",
      [](const DeviceUsage& one) { return one.leased_bytes; });
  add("weightd_memory_pinned_bytes", "Of these, what operators pinned.",
      [](const DeviceUsage& one) { return one.pinned_bytes; });
}

}  // namespace

Metrics::Metrics(const std::string& version, const Residency& residency, const LeaseTable& leases,
                 EventLog& events)
    : version_(version),
      residency_(residency),
      leases_(leases),
      events_(events),
      stages_(AddCounter(registry_, "weightd_stages_total",
                         "Stages that ended, by result: done, failed, refused.")),
      staged_bytes_(AddCounter(registry_, "weightd_staged_bytes_total",
                               "Bytes of the copies that were staged.")),
      evictions_(AddCounter(registry_, "weightd_evictions_total", "Copies that left a device.")),
      demotions_(AddCounter(registry_, "weightd_demotions_total",
                            "Of these, copies that the host tier kept.")),
      verified_bytes_(AddCounter(registry_, "weightd_verified_bytes_total",
                                 "Resident bytes that were read again and compared.")),
      verifications_(AddCounter(registry_, "weightd_verified_copies_total",
                                "Resident copies that were read again and compared.")),
      verify_failures_(AddCounter(registry_, "weightd_verify_failures_total",
                                  "Of these, copies whose bytes were not what was staged.")) {
  // A series that begins with its first failure cannot be watched for an increase.
  for (const auto& device : residency.devices()) {
    const Labels labels = {{"device", device->info().id}};
    for (auto* family : {&staged_bytes_, &evictions_, &demotions_, &verified_bytes_,
                         &verifications_, &verify_failures_}) {
      family->Add(labels);
    }
  }
  for (const char* result : {"done", "failed", "refused"}) stages_.Add({{"result", result}});
  watch_ = events_.Watch(0, [this](const Event& event) { Count(event); });
}

Metrics::~Metrics() { events_.Unwatch(watch_); }

void Metrics::Count(const Event& event) {
  const Labels device = {{"device", event.device}};
  const auto bytes = static_cast<double>(event.bytes);
  switch (event.type) {
    case EventType::kStageDone:
      stages_.Add({{"result", "done"}}).Increment();
      staged_bytes_.Add(device).Increment(bytes);
      return;
    case EventType::kStageFailed:
      return stages_.Add({{"result", "failed"}}).Increment();
    case EventType::kStageRefused:
      return stages_.Add({{"result", "refused"}}).Increment();
    case EventType::kEvicted:
      return evictions_.Add(device).Increment();
    case EventType::kDemoted:  // its eviction follows
      return demotions_.Add(device).Increment();
    case EventType::kDamaged:
      verify_failures_.Add(device).Increment();
      [[fallthrough]];
    case EventType::kVerified:
      verifications_.Add(device).Increment();
      verified_bytes_.Add(device).Increment(bytes);
      return;
    default:
      return;
  }
}

std::vector<MetricFamily> Metrics::Collect() const {
  Gauges gauges;
  gauges.Add("weightd_build_info", "Always 1; the version is a label.");
  gauges.Value({{"version", version_}}, 1);
  AddMemory(residency_.Usage(), gauges);
  gauges.Add("weightd_leases", "Leases that clients hold.");
  gauges.Value({}, leases_.count());
  const Residency::JobCounts jobs = residency_.job_counts();
  gauges.Add("weightd_jobs", "Stages that run or wait.");
  gauges.Value({{"state", "running"}}, jobs.running);
  gauges.Value({{"state", "queued"}}, jobs.queued);
  std::vector<MetricFamily> families = gauges.Take();
  std::vector<MetricFamily> counted = registry_.Collect();
  families.insert(families.end(), std::make_move_iterator(counted.begin()),
                  std::make_move_iterator(counted.end()));
  return families;
}

}  // namespace weightd
