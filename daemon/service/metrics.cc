#include "daemon/service/metrics.h"

#include <array>
#include <iterator>
#include <utility>

#include "common/errors.h"
#include "daemon/service/metric_snapshot.h"

namespace weightd {
namespace {

using Labels = prometheus::Labels;
using Buckets = prometheus::Histogram::BucketBoundaries;

// What a scrape waits for events that are being told.
constexpr absl::Duration kSettleTime = absl::Seconds(1);

constexpr std::array kTiers = {"volume", "host", "device"};

// Attaches to what is there take a millisecond, those that wait for a stage minutes.
const Buckets kAttachBuckets = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                1,      2.5,   5,      10,    30,   60,    120,  300, 600};
const Buckets kStageBuckets = {0.01, 0.05, 0.1, 0.25, 0.5, 1,   2.5, 5,
                               10,   20,   30,  60,   120, 300, 600, 1200};

}  // namespace

Metrics::Counters& Metrics::AddCounters(const std::string& name, const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
}

Metrics::Metrics(MetricSources sources)
    : from_(std::move(sources)),
      leases_granted_(AddCounters("weightd_leases_granted_total", "Leases that were granted.")),
      leases_ended_(AddCounters("weightd_leases_ended_total",
                                "Leases that ended, by reason: STREAM_ENDED (the client left), "
                                "LEASE_REVOKED (an operator evicted by force).")),
      hits_(AddCounters("weightd_attach_hits_total",
                        "Attaches that were granted what was resident.")),
      misses_(AddCounters("weightd_attach_misses_total",
                          "Attaches to what was not resident: they waited until it was, or were "
                          "refused.")),
      attach_seconds_(prometheus::BuildHistogram()
                          .Name("weightd_attach_duration_seconds")
                          .Help("Seconds from an attach's request to its lease, by result: hit, "
                                "miss (it waited for a stage or a copy).")
                          .Register(registry_)),
      stages_(AddCounters("weightd_stages_total",
                          "Stages that ended, by result: done, already_resident, failed, refused "
                          "(it does not fit).")),
      stage_failures_(
          AddCounters("weightd_stage_failures_total", "Stages that failed, by reason.")),
      stage_fallbacks_(AddCounters("weightd_stage_fallbacks_total",
                                   "Things that stages had to go without, as their reports say.")),
      staged_bytes_(AddCounters("weightd_staged_bytes_total",
                                "Bytes of the copies that were staged, by the tier that they came "
                                "from: volume, host, device.")),
      stage_seconds_(AddCounters("weightd_stage_seconds_total",
                                 "Seconds that staging to a device took, from the start of a stage "
                                 "to its end, by the tier that it came from.")),
      phase_seconds_(AddCounters("weightd_stage_phase_seconds_total",
                                 "Seconds that stages spent, by phase: plan, read, copy, verify, "
                                 "publish.")),
      stage_duration_(prometheus::BuildHistogram()
                          .Name("weightd_stage_duration_seconds")
                          .Help("Seconds that a stage took, by the tier that it came from.")
                          .Register(registry_)),
      read_bytes_(AddCounters("weightd_volume_read_bytes_total",
                              "Bytes that stages read, by mode: direct (O_DIRECT), cached (the "
                              "page cache had them), buffered (O_DIRECT was refused).")),
      read_retries_(AddCounters("weightd_volume_read_retries_total",
                                "Reads that the kernel interrupted or put off (EINTR, EAGAIN) and "
                                "that were made again, of stages that were done.")),
      evictions_(AddCounters("weightd_evictions_total",
                             "Copies that left a device, by reason: ROOM, OPERATOR, FORCE, "
                             "SUPERSEDED, SHUTDOWN.")),
      demotions_(AddCounters("weightd_demotions_total",
                             "Copies that the host tier kept when they left a device.")),
      demotion_failures_(AddCounters("weightd_demotion_failures_total",
                                     "Copies that the host tier failed to keep.")),
      verified_bytes_(AddCounters("weightd_verified_bytes_total",
                                  "Resident bytes that were read again and compared.")),
      verifications_(AddCounters("weightd_verified_copies_total",
                                 "Resident copies that were read again and compared.")),
      verify_failures_(AddCounters("weightd_verify_failures_total",
                                   "Resident copies whose bytes were not what was staged.")) {
  Register();
  watch_ = from_.events.Watch([this](const Event& event) { Count(event); });
  from_.residency.set_stage_listener([this](const StageRecord& record) { CountStage(record); });
}

Metrics::~Metrics() {
  from_.residency.set_stage_listener(nullptr);
  from_.events.Unwatch(watch_);
}

void Metrics::Register() {
  for (const auto& device : from_.residency.devices()) RegisterDevice(device->info());
  for (auto* family : {&hits_, &misses_, &stage_fallbacks_, &read_retries_}) family->Add({});
  for (const char* result : {"hit", "miss"}) {
    attach_seconds_.Add({{"result", result}}, kAttachBuckets);
  }
  for (const absl::string_view word : ReasonWords()) {
    stage_failures_.Add({{"reason", std::string(word)}});
  }
  for (const char* result : {"done", "already_resident", "failed", "refused"}) {
    stages_.Add({{"result", result}});
  }
  for (const char* phase : {"plan", "read", "copy", "verify", "publish"}) {
    phase_seconds_.Add({{"phase", phase}});
  }
  for (const char* tier : kTiers) stage_duration_.Add({{"source", tier}}, kStageBuckets);
  for (const char* mode : {"direct", "cached", "buffered"}) read_bytes_.Add({{"mode", mode}});
}

void Metrics::RegisterDevice(const DeviceInfo& device) {
  const Labels labels = {{"device", device.id}};
  for (auto* family : {&leases_granted_, &demotions_, &demotion_failures_, &verified_bytes_,
                       &verifications_, &verify_failures_}) {
    family->Add(labels);
  }
  for (const std::string& reason :
       {std::string(kStreamEnded), std::string(ReasonName(Reason::kLeaseRevoked))}) {
    leases_ended_.Add({{"device", device.id}, {"reason", reason}});
  }
  for (const EvictReason reason : kEvictReasons) {
    evictions_.Add({{"device", device.id}, {"reason", std::string(EvictReasonName(reason))}});
  }
  for (const char* source : kTiers) {
    const Labels staged = {
        {"device", device.id}, {"tier", TierName(device.kind)}, {"source", source}};
    staged_bytes_.Add(staged);
    stage_seconds_.Add(staged);
  }
}

void Metrics::Count(const Event& event) {
  const Labels device = {{"device", event.device}};
  const auto bytes = static_cast<double>(event.bytes);
  switch (event.type) {
    case EventType::kLeaseGranted:
      return CountGrant(event);
    case EventType::kLeaseEnded:
    case EventType::kLeaseRevoked:
      return leases_ended_.Add({{"device", event.device}, {"reason", event.reason}}).Increment();
    case EventType::kAttachRefused:
      // Unless it is refused whatever is resident.
      if (event.job_id != 0 || event.reason == ReasonName(Reason::kModelNotResident) ||
          event.reason == ReasonName(Reason::kModelNotFound)) {
        misses_.Add({}).Increment();
      }
      return from_.refusals.Add("attach", event.reason);
    case EventType::kStageRefused:
      return from_.refusals.Add("stage", event.reason);
    case EventType::kEvicted:
      return evictions_.Add({{"device", event.device}, {"reason", event.reason}}).Increment();
    case EventType::kDemoted:  // its eviction follows
      return demotions_.Add(device).Increment();
    case EventType::kDemotionFailed:  // likewise
      return demotion_failures_.Add(device).Increment();
    case EventType::kDamaged:
      verify_failures_.Add(device).Increment();
      [[fallthrough]];
    case EventType::kVerified:
      verifications_.Add(device).Increment();
      return verified_bytes_.Add(device).Increment(bytes);
    case EventType::kDrainStarted:
      return draining_.store(true);
    default:
      return;
  }
}

void Metrics::CountGrant(const Event& event) {
  leases_granted_.Add({{"device", event.device}}).Increment();
  const bool hit = event.job_id == 0;
  (hit ? hits_ : misses_).Add({}).Increment();
  attach_seconds_.Add({{"result", hit ? "hit" : "miss"}}, kAttachBuckets)
      .Observe(absl::ToDoubleSeconds(event.duration));
}

void Metrics::CountStage(const StageRecord& record) {
  if (record.status.ok()) {
    stages_.Add({{"result", record.already_resident ? "already_resident" : "done"}}).Increment();
    if (!record.already_resident) CountStaged(record);
    return;
  }
  // The event of a refusal is counted with those that never became a job.
  const bool refused = GetReason(record.status) == Reason::kBudgetExceeded;
  stages_.Add({{"result", refused ? "refused" : "failed"}}).Increment();
  if (refused) return;
  stage_failures_.Add({{"reason", std::string(ReasonWord(record.status))}}).Increment();
}

std::string Metrics::SourceOf(const StageReport& report) const {
  for (const auto& device : from_.residency.devices()) {
    if (device->info().id == report.source) return TierName(device->info().kind);
  }
  return std::string(kVolumeSource);
}

void Metrics::CountStaged(const StageRecord& record) {
  const StageReport& report = record.report;
  const std::string source = SourceOf(report);
  const double seconds = absl::ToDoubleSeconds(report.total_time());
  for (const StagedPlace& place : record.places) {
    const Labels labels = {
        {"device", place.device}, {"tier", TierName(place.kind)}, {"source", source}};
    staged_bytes_.Add(labels).Increment(static_cast<double>(place.bytes));
    stage_seconds_.Add(labels).Increment(seconds);
  }
  stage_duration_.Add({{"source", source}}, kStageBuckets).Observe(seconds);
  stage_fallbacks_.Add({}).Increment(static_cast<double>(report.fallbacks.size()));
  const std::pair<const char*, absl::Duration> phases[] = {{"plan", report.plan_time},
                                                           {"read", report.read_time},
                                                           {"copy", report.copy_time},
                                                           {"verify", report.verify_time},
                                                           {"publish", report.publish_time}};
  for (const auto& [phase, time] : phases) {
    phase_seconds_.Add({{"phase", phase}}).Increment(absl::ToDoubleSeconds(time));
  }
  read_retries_.Add({}).Increment(static_cast<double>(report.read_retries));
  const std::pair<const char*, uint64_t> modes[] = {{"direct", report.direct_bytes},
                                                    {"cached", report.cached_bytes},
                                                    {"buffered", report.buffered_bytes}};
  for (const auto& [mode, bytes] : modes) {
    read_bytes_.Add({{"mode", mode}}).Increment(static_cast<double>(bytes));
  }
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  // Who did something and then looks finds it counted.
  from_.events.Settle(kSettleTime);
  MetricSnapshot snapshot;
  snapshot.AddGauge("weightd_build_info", "Always 1; the version is a label.");
  snapshot.Value({{"version", from_.version}}, 1);
  snapshot.AddGauge("weightd_draining",
                    "1 from when the daemon was told to stop: it stages and grants no more.");
  snapshot.Value({}, draining_.load() ? 1 : 0);
  snapshot.AddGauge("weightd_state_file_failing",
                    "1 while the state file cannot be written: pins are lost with the daemon.");
  snapshot.Value({}, StateError(from_.info).empty() ? 0 : 1);
  AddReadPath(from_.residency, AllWarnings(from_.info).size(), snapshot);
  AddDevices(from_.residency, snapshot);
  AddVolumes(from_.residency, from_.info.roots, snapshot);
  AddWork(from_.residency, from_.leases, snapshot);
  AddVolumes(from_.looks(), snapshot);
  AddAccess(from_.access, snapshot);
  AddUidLimits(from_.uid_limits, from_.tables.kept_bytes(), snapshot);
  AddRefusals(from_.refusals, snapshot);
  snapshot.AddCounter("weightd_log_lines_dropped_total",
                      "Log lines that were not written: nobody read them, or they were too many in "
                      "a second.");
  snapshot.Value({}, static_cast<double>(from_.log_lines_dropped()));
  AddProcess(from_.start_time, snapshot);
  std::vector<prometheus::MetricFamily> families = snapshot.Take();
  std::vector<prometheus::MetricFamily> counted = registry_.Collect();
  families.insert(families.end(), std::make_move_iterator(counted.begin()),
                  std::make_move_iterator(counted.end()));
  return families;
}

}  // namespace weightd
