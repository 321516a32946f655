#include "daemon/service/metric_snapshot.h"

#include <map>

namespace weightd {
namespace {

using Labels = prometheus::Labels;

double AsDouble(uint64_t value) { return static_cast<double>(value); }

}  // namespace

void MetricSnapshot::Add(const std::string& name, const std::string& help,
                         prometheus::MetricType type) {
  families_.push_back({.name = name, .help = help, .type = type, .metric = {}});
}

void MetricSnapshot::Value(const Labels& labels, double value) {
  prometheus::MetricFamily& family = families_.back();
  prometheus::ClientMetric metric;
  for (const auto& [name, text] : labels) metric.label.push_back({name, text});
  if (family.type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(std::move(metric));
}

std::string TierName(DeviceKind kind) { return kind == DeviceKind::kHost ? "host" : "device"; }

void AddReadPath(const Residency& residency, size_t daemon_warnings, MetricSnapshot& snapshot) {
  const ReadPathInfo path = residency.read_path();
  snapshot.AddGauge("weightd_read_engine_info",
                    "Always 1; engine says how the volume is read: io_uring, or pread where the "
                    "kernel or the container runtime refuses it.");
  snapshot.Value({{"engine", std::string(ReadEngineName(path.engine))}}, 1);
  snapshot.AddGauge("weightd_staging_buffer_bytes",
                    "Host memory of the staging buffers in bytes; not part of any budget.");
  snapshot.Value({}, AsDouble(path.pool_bytes));
  snapshot.AddGauge("weightd_pages_info",
                    "Always 1; pages says of what the staging buffers and new host copies are "
                    "made: hugetlb, transparent, or small, which cost CPU time.");
  snapshot.Value(
      {{"memory", "staging_buffers"}, {"pages", std::string(PageKindName(path.pool_pages))}}, 1);
  size_t device_warnings = 0;
  for (const auto& device : residency.devices()) {
    device_warnings += device->warnings().size();
    if (device->info().kind != DeviceKind::kHost) continue;
    snapshot.Value({{"memory", "host"}, {"pages", device->pages()}}, 1);
  }
  snapshot.AddGauge("weightd_fallbacks_in_use",
                    "What the daemon does without, by part: as many as weightctl status names.");
  snapshot.Value({{"part", "daemon"}}, AsDouble(daemon_warnings));
  snapshot.Value({{"part", "read_path"}}, AsDouble(path.fallbacks.size()));
  snapshot.Value({{"part", "device"}}, AsDouble(device_warnings));
}

void AddVolumes(const std::vector<RootLook>& looks, MetricSnapshot& snapshot) {
  snapshot.AddGauge("weightd_volume_stuck_calls",
                    "Calls that the volume of a root has kept waiting for longer than "
                    "storage.stall_timeout_ms.");
  for (const RootLook& look : looks) {
    snapshot.Value({{"root", look.root}}, AsDouble(look.threads.stuck));
  }
  snapshot.AddGauge(
      "weightd_root_usable",
      "1 while the last look through a root went well, else 0: it is not there, cannot "
      "be read, or hangs.");
  for (const RootLook& look : looks) {
    snapshot.Value({{"root", look.root}}, look.problem.ok() ? 1 : 0);
  }
}

void AddDevices(const Residency& residency, MetricSnapshot& snapshot) {
  const std::vector<DeviceUsage> usage = residency.Usage();
  const auto add = [&](const std::string& name, const std::string& help, auto value_of) {
    snapshot.AddGauge(name, help);
    for (const DeviceUsage& one : usage) {
      snapshot.Value({{"device", one.budget.device}, {"tier", TierName(one.budget.kind)}},
                     AsDouble(value_of(one)));
    }
  };
  add("weightd_memory_budget_bytes", "Bytes that weights may take of the memory of a device.",
      [](const DeviceUsage& one) { return one.budget.bytes; });
  add("weightd_memory_used_bytes",
      "Bytes that weights take of the budget, those being staged and those being freed included.",
      [](const DeviceUsage& one) { return one.used_bytes; });
  add("weightd_memory_resident_bytes", "Bytes of the copies that can be attached to.",
      [](const DeviceUsage& one) { return one.resident_bytes; });
  add("weightd_memory_staging_bytes", "Bytes taken for copies that are being staged.",
      [](const DeviceUsage& one) { return one.staging_bytes; });
  add("weightd_memory_stuck_bytes",
      "Bytes that failed stages keep, since reads of a volume that hangs may still write to them.",
      [](const DeviceUsage& one) { return one.stuck_bytes; });
  add("weightd_memory_leased_bytes", "Bytes of the copies that clients hold.",
      [](const DeviceUsage& one) { return one.leased_bytes; });
  add("weightd_memory_pinned_bytes", "Bytes of the copies that operators pinned.",
      [](const DeviceUsage& one) { return one.pinned_bytes; });
  add("weightd_memory_held_after_eviction_bytes",
      "Bytes of the copies that are to go (superseded, evicted by force, damaged) and that clients "
      "still hold.",
      [](const DeviceUsage& one) { return one.outgoing_leased_bytes; });
  add("weightd_resident_copies", "Copies of models that can be attached to.",
      [](const DeviceUsage& one) { return one.resident_copies; });
  snapshot.AddCounter("weightd_driver_errors_total",
                      "Calls of the CUDA driver, or of the kernel for host memory, that failed, by "
                      "what was wanted.");
  for (const auto& device : residency.devices()) {
    for (const DeviceErrors& one : device->errors()) {
      snapshot.Value({{"device", device->info().id}, {"operation", one.operation}},
                     AsDouble(one.count));
    }
  }
}

void AddVolumes(const Residency& residency, const std::vector<std::string>& roots,
                MetricSnapshot& snapshot) {
  std::map<std::string, std::pair<uint32_t, uint64_t>> by_root;
  for (const StuckStage& stage : residency.stuck()) {
    by_root[stage.root].first += stage.reads;
    by_root[stage.root].second += stage.bytes;
  }
  snapshot.AddGauge("weightd_stuck_reads",
                    "Reads that a root's volume does not answer; their stages have failed.");
  for (const std::string& root : roots) snapshot.Value({{"root", root}}, by_root[root].first);
  snapshot.AddGauge("weightd_stuck_bytes",
                    "Bytes of memory that those reads may still write to: they stay booked until "
                    "the reads come back.");
  for (const std::string& root : roots) {
    snapshot.Value({{"root", root}}, AsDouble(by_root[root].second));
  }
}

void AddWork(const Residency& residency, const LeaseTable& leases, MetricSnapshot& snapshot) {
  std::map<std::string, uint64_t> on_device;
  for (const auto& device : residency.devices()) on_device[device->info().id] = 0;
  for (const LeaseInfo& lease : leases.List()) ++on_device[lease.content->device.id];
  snapshot.AddGauge("weightd_leases", "Leases that clients hold.");
  for (const auto& [device, count] : on_device) {
    snapshot.Value({{"device", device}}, AsDouble(count));
  }
  const Residency::JobCounts jobs = residency.job_counts();
  snapshot.AddGauge("weightd_jobs", "Stages that run, or wait in the queue.");
  snapshot.Value({{"state", "running"}}, jobs.running);
  snapshot.Value({{"state", "queued"}}, jobs.queued);
}

void AddAccess(const AccessList& access, MetricSnapshot& snapshot) {
  snapshot.AddCounter("weightd_access_refusals_total",
                      "Connections and calls of users whom no list of access names, by the right "
                      "they lack: attach, operate. One client may try several times.");
  snapshot.Value({{"right", "attach"}}, AsDouble(access.refusals(Right::kAttach)));
  snapshot.Value({{"right", "operate"}}, AsDouble(access.refusals(Right::kOperate)));
}

void AddUidLimits(const UidLimits& limits, size_t table_bytes, MetricSnapshot& snapshot) {
  constexpr Cost kCosts[] = {Cost::kConnections,     Cost::kHandleConnections, Cost::kCalls,
                             Cost::kWaitingAttaches, Cost::kWatchers,          Cost::kQueuedBytes,
                             Cost::kStreams,         Cost::kUnfinishedRequests};
  snapshot.AddGauge("weightd_client_costs",
                    "What clients take of the daemon now, by what limits.* limits: connections, "
                    "handle_connections, calls, waiting_attaches, watchers, queued_bytes, streams "
                    "(of HTTP/2, beyond four of each connection; each KiB of headers is one more), "
                    "unfinished_requests (beyond one of each connection).");
  for (const Cost cost : kCosts) {
    snapshot.Value({{"cost", std::string(CostName(cost))}}, AsDouble(limits.taken(cost)));
  }
  snapshot.AddCounter("weightd_client_cost_refusals_total",
                      "How many times a client was refused since its uid, or all, had as much as "
                      "limits.* allows.");
  for (const Cost cost : kCosts) {
    snapshot.Value({{"cost", std::string(CostName(cost))}}, AsDouble(limits.refusals(cost)));
  }
  snapshot.AddGauge(
      "weightd_tensor_table_bytes",
      "Host memory of the tables of tensors that are kept ready to be sent, in bytes; "
      "not part of any budget.");
  snapshot.Value({}, AsDouble(table_bytes));
}

void AddRefusals(const RefusalCounts& refusals, MetricSnapshot& snapshot) {
  snapshot.AddCounter(
      "weightd_refusals_total",
      "Requests (attach, stage, evict, verify, pin, unpin) that were refused, and attaches "
      "that failed, by the reason that the client was told.");
  for (const auto& [key, count] : refusals.Get()) {
    snapshot.Value({{"request", key.first}, {"reason", key.second}}, AsDouble(count));
  }
}

}  // namespace weightd
