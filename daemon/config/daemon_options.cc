#include "daemon/config/daemon_options.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/socket_paths.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr uint64_t kTensorTablesBytesMax = uint64_t{1} << 40;
constexpr uint32_t kDrainGraceMsMax = 600'000;
constexpr uint32_t kRequestsWaitingMax = 65536;

std::string DefaultStateFile() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string directory = variable("STATE_DIRECTORY"); !directory.empty()) {
    return directory.substr(0, directory.find(':')) + "/state.json";
  }
  if (::geteuid() == 0) return "/var/lib/weightd/state.json";
  if (const std::string state = variable("XDG_STATE_HOME"); !state.empty()) {
    return state + "/weightd/state.json";
  }
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.local/state/weightd/state.json";
}

template <typename Repeated>
void Replace(const Repeated& given, std::vector<uint32_t>& list) {
  if (!given.empty()) list.assign(given.begin(), given.end());
}

ReadEngine EngineFrom(config::Storage::Engine engine) {
  switch (engine) {
    case config::Storage::URING:
      return ReadEngine::kUring;
    case config::Storage::PREAD:
      return ReadEngine::kPread;
    default:
      return ReadEngine::kAuto;
  }
}

IoPriority IoPriorityFrom(config::Storage::IoPriority priority) {
  switch (priority) {
    case config::Storage::LOW:
      return IoPriority::kLow;
    case config::Storage::IDLE:
      return IoPriority::kIdle;
    default:
      return IoPriority::kNormal;
  }
}

VerifyMode VerifyModeFrom(config::Staging::Verify mode) {
  switch (mode) {
    case config::Staging::NONE:
      return VerifyMode::kNone;
    case config::Staging::FULL:
      return VerifyMode::kFull;
    default:
      return VerifyMode::kFast;
  }
}

CudaUse CudaUseFrom(config::Cuda::Enabled enabled) {
  switch (enabled) {
    case config::Cuda::ON:
      return CudaUse::kOn;
    case config::Cuda::OFF:
      return CudaUse::kOff;
    default:
      return CudaUse::kAuto;
  }
}

void SetAccess(const config::Access& access, AccessOptions& options) {
  Replace(access.attach_uid(), options.attach_uids);
  Replace(access.attach_gid(), options.attach_gids);
  Replace(access.operate_uid(), options.operate_uids);
  Replace(access.operate_gid(), options.operate_gids);
}

void SetStaging(const config::Config& config, DaemonOptions& options) {
  StagerOptions& stager = options.residency.stager;
  const config::Storage& storage = config.storage();
  stager.read_queue.engine = EngineFrom(storage.engine());
  stager.read_queue.io_priority = IoPriorityFrom(storage.io_priority());
  if (storage.has_pread_threads()) stager.read_queue.pread_threads = storage.pread_threads();
  if (storage.has_stuck_reads_max()) stager.read_queue.stuck_max = storage.stuck_reads_max();
  if (storage.has_stall_timeout_ms()) {
    stager.read_queue.stall_timeout = absl::Milliseconds(storage.stall_timeout_ms());
  }
  VolumeThreadsOptions& volume = options.volume_threads;
  volume.stall_timeout = stager.read_queue.stall_timeout;
  if (storage.has_volume_threads()) volume.threads = storage.volume_threads();
  if (storage.has_volume_queue_max()) volume.queue_max = storage.volume_queue_max();
  const config::Staging& staging = config.staging();
  if (staging.has_block_bytes()) stager.block_bytes = staging.block_bytes();
  if (staging.has_depth()) stager.depth = staging.depth();
  options.slot_count_given = staging.has_slot_count();
  if (staging.has_slot_count()) stager.slot_count = staging.slot_count();
  if (staging.has_jobs_max()) options.residency.queue.jobs_max = staging.jobs_max();
  if (staging.has_queue_max()) options.residency.queue.queue_max = staging.queue_max();
  if (staging.has_retries_max()) options.retries.retries_max = staging.retries_max();
  if (staging.has_retry_pause_ms()) {
    options.retries.first_pause = absl::Milliseconds(staging.retry_pause_ms());
  }
  options.residency.defaults.bytes_per_second_max = staging.bytes_per_second_max();
  options.residency.defaults.require_digest = staging.require_digest();
  if (staging.has_verify()) options.residency.defaults.verify = VerifyModeFrom(staging.verify());
}

void SetEncryption(const config::Encryption& encryption, KeySourceOptions& keys) {
  keys.key_file = encryption.key_file();
  keys.key_environment = encryption.key_environment();
  keys.password_file = encryption.password_file();
  keys.password_environment = encryption.password_environment();
}

void SetMemory(const config::Config& config, DaemonOptions& options) {
  const config::Host& host = config.host();
  if (host.has_budget_bytes()) options.host_budget_bytes = host.budget_bytes();
  if (host.has_huge_pages() && !host.huge_pages()) {
    options.host.huge_pages = HostDeviceOptions::HugePages::kOff;
  }
  if (host.has_demote()) options.residency.table.demote = host.demote();
  if (host.has_pin()) options.residency.stager.pin_host_memory = host.pin();
  options.residency.defaults.host_copy = host.host_copies();
  options.host_reserve_bytes = host.reserve_bytes();
  const config::Cuda& cuda = config.cuda();
  options.cuda = CudaUseFrom(cuda.enabled());
  if (cuda.has_budget_bytes()) options.gpu_budget_bytes = cuda.budget_bytes();
  options.gpu_reserve_bytes = cuda.reserve_bytes();
  for (const config::Gpu& gpu : cuda.gpu()) {
    options.gpu_budgets_bytes[gpu.uuid()] = gpu.budget_bytes();
  }
}

void SetCatalogWatch(const config::CatalogWatch& catalog, DaemonOptions& options) {
  if (catalog.refresh() == config::CatalogWatch::KEEP_FRESH) {
    options.refresh = RefreshPolicy::kKeepFresh;
  }
  CatalogWatchOptions& watch = options.catalog_watch;
  if (catalog.has_scan_interval_ms()) {
    watch.scan_interval = absl::Milliseconds(catalog.scan_interval_ms());
  }
  if (catalog.has_settle_ms()) watch.settle = absl::Milliseconds(catalog.settle_ms());
}

void SetUidLimits(const config::Limits& limits, UidLimitOptions& to) {
  const auto set = [](bool given, uint64_t value, uint64_t& setting) {
    if (given) setting = value;
  };
  set(limits.has_connections_per_uid_max(), limits.connections_per_uid_max(),
      to.connections.per_uid_max);
  set(limits.has_connections_max(), limits.connections_max(), to.connections.max);
  set(limits.has_calls_per_uid_max(), limits.calls_per_uid_max(), to.calls.per_uid_max);
  set(limits.has_calls_max(), limits.calls_max(), to.calls.max);
  set(limits.has_waiting_attaches_per_uid_max(), limits.waiting_attaches_per_uid_max(),
      to.waiting_attaches.per_uid_max);
  set(limits.has_waiting_attaches_max(), limits.waiting_attaches_max(), to.waiting_attaches.max);
  set(limits.has_watchers_per_uid_max(), limits.watchers_per_uid_max(), to.watchers.per_uid_max);
  set(limits.has_watchers_max(), limits.watchers_max(), to.watchers.max);
  set(limits.has_queued_bytes_per_uid_max(), limits.queued_bytes_per_uid_max(),
      to.queued_bytes.per_uid_max);
  set(limits.has_queued_bytes_max(), limits.queued_bytes_max(), to.queued_bytes.max);
  if (limits.has_operator_reserve_percent()) {
    to.operator_reserve_percent = limits.operator_reserve_percent();
  }
}

void SetLimits(const config::Limits& limits, DaemonOptions& options) {
  if (limits.has_leases_per_uid_max()) {
    options.leases.leases_per_uid_max = limits.leases_per_uid_max();
  }
  if (limits.has_jobs_per_uid_max()) {
    options.residency.queue.jobs_per_uid_max = limits.jobs_per_uid_max();
  }
  if (limits.has_leases_max()) options.leases.leases_max = limits.leases_max();
  if (limits.has_catalog_depth_max()) options.catalog.depth_max = limits.catalog_depth_max();
  if (limits.has_shards_max()) options.catalog.shards_max = limits.shards_max();
  if (limits.has_catalog_entries_max()) options.catalog.entries_max = limits.catalog_entries_max();
  if (limits.has_tensors_max()) options.catalog.tensors_max = limits.tensors_max();
  if (limits.has_requests_waiting_max()) {
    options.requests.waiting_max = limits.requests_waiting_max();
  }
  if (limits.has_requests_waiting_per_uid_max()) {
    options.requests.waiting_per_uid_max = limits.requests_waiting_per_uid_max();
  }
  SetUidLimits(limits, options.uid_limits);
  if (limits.has_tensor_tables_bytes_max()) {
    options.tensor_tables_bytes_max = limits.tensor_tables_bytes_max();
  }
}

}  // namespace

absl::Status RequestLimits::Validate() const {
  const auto check = [](const char* name, uint32_t value) {
    if (value >= 1 && value <= kRequestsWaitingMax) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is ", value, ", wanted 1 to ", kRequestsWaitingMax));
  };
  RETURN_IF_ERROR(check("requests_waiting_max", waiting_max));
  return check("requests_waiting_per_uid_max", waiting_per_uid_max);
}

RefresherOptions MakeRefresherOptions(const DaemonOptions& options) {
  return {
      .policy = options.refresh, .preload = options.preload, .preload_pin = options.preload_pin};
}

absl::StatusOr<DaemonOptions> MakeDaemonOptions(const config::Config& config) {
  DaemonOptions options;
  options.roots.assign(config.root().begin(), config.root().end());
  if (options.roots.empty()) {
    return absl::InvalidArgumentError(
        "no root: name a directory with checkpoints, --root DIR or root: \"DIR\"");
  }
  options.socket_dir = ResolveSocketDir(config.socket_dir()).path;
  options.preload.assign(config.preload().begin(), config.preload().end());
  if (options.preload.size() > kPreloadsMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the number of models in preload is ", options.preload.size(), ", allowed ", kPreloadsMax));
  }
  options.preload_pin = config.preload_pin();
  options.state_file = config.has_state_file() ? config.state_file() : DefaultStateFile();
  options.metrics_address = config.metrics().address();
  options.node_features_file = config.node_features_file();
  options.default_device = config.default_device();
  if (config.has_drain_grace_ms()) {
    if (config.drain_grace_ms() > kDrainGraceMsMax) {
      return absl::InvalidArgumentError(absl::StrCat("drain_grace_ms is ", config.drain_grace_ms(),
                                                     ", wanted at most ", kDrainGraceMsMax));
    }
    options.drain_grace = absl::Milliseconds(config.drain_grace_ms());
  }
  options.log_format =
      config.log().format() == config::Log::JSON ? LogFormat::kJson : LogFormat::kText;
  options.log_level = static_cast<LogLevel>(config.log().level());
  options.access = DefaultAccess();
  SetAccess(config.access(), options.access);
  SetStaging(config, options);
  SetMemory(config, options);
  SetLimits(config.limits(), options);
  SetCatalogWatch(config.catalog(), options);
  SetEncryption(config.encryption(), options.residency.keys);
  ScrubOptions& scrub = options.residency.scrub;
  scrub.interval = absl::Milliseconds(config.scrub().interval_ms());
  if (config.scrub().has_bytes_per_second()) {
    scrub.bytes_per_second = config.scrub().bytes_per_second();
  }
  RETURN_IF_ERROR(options.catalog.Validate());
  RETURN_IF_ERROR(options.volume_threads.Validate());
  RETURN_IF_ERROR(options.catalog_watch.Validate());
  RETURN_IF_ERROR(options.residency.Validate());
  RETURN_IF_ERROR(options.leases.Validate());
  RETURN_IF_ERROR(options.retries.Validate());
  RETURN_IF_ERROR(options.requests.Validate());
  RETURN_IF_ERROR(options.uid_limits.Validate());
  if (options.tensor_tables_bytes_max > kTensorTablesBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("tensor_tables_bytes_max is ",
                                                   options.tensor_tables_bytes_max,
                                                   ", wanted at most ", kTensorTablesBytesMax));
  }
  return options;
}

}  // namespace weightd
