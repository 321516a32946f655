#include "tests/bench/lease_levels.h"

#include <sys/resource.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/status_macros.h"
#include "tests/bench/lease_worker.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/process/daemon_process.h"
#include "tests/support/process/wait_until.h"
#include "tests/support/process/weightctl.h"

namespace weightd::bench {
namespace {

// The client's, and the two ends of the one that gRPC has (ConnectionRelay).
constexpr uint64_t kSocketsPerConnection = 3;

constexpr const char* kModel = "small";
constexpr uint64_t kModelBytes = 16 * kMiB;
// The log of the last 1,024 events is full after it, and so are gRPC's and malloc's first needs.
constexpr uint64_t kWarmUpAttaches = 2000;
// Of connections beside the held ones: a burst's, those that are just being closed, an operator's.
constexpr uint64_t kSpareConnections = 128;

using Workers = std::vector<std::unique_ptr<LeaseWorker>>;

absl::Status FinishAll(const Workers& workers) {
  absl::Status status;
  for (const auto& worker : workers) status.Update(worker->Finish());
  return status;
}

// A daemon with one small model in host memory, and its clients.
class Scene {
 public:
  static absl::StatusOr<std::unique_ptr<Scene>> Create(const LevelOptions& options) {
    std::unique_ptr<Scene> scene(new Scene(options));
    RETURN_IF_ERROR(scene->Prepare());
    return scene;
  }

  // Until the daemon has that many connections and no other: then all that was dropped is gone.
  absl::Status Hold(uint64_t count) {
    const uint64_t holders = holders_.size();
    for (uint64_t i = 0; i < holders; ++i) {
      holders_[i]->StartHold(count / holders + (i < count % holders ? 1 : 0));
    }
    RETURN_IF_ERROR(FinishAll(holders_));
    return Settle(count);
  }

  absl::Status Settle(uint64_t count) const {
    absl::StatusOr<uint64_t> sockets = 0;
    const auto settled = [&] {
      sockets = CountSockets(daemon_->pid());
      return !sockets.ok() || *sockets == listeners_ + kSocketsPerConnection * count;
    };
    if (testing::WaitUntil(settled)) return sockets.status();
    return absl::InternalError(absl::StrCat("the daemon has ", *sockets - listeners_,
                                            " sockets, wanted ", kSocketsPerConnection,
                                            " for each of ", count, " leases"));
  }

  absl::StatusOr<DaemonMemory> Memory() const { return ReadDaemonMemory(daemon_->pid()); }

  absl::StatusOr<std::vector<double>> TimeAttaches(uint64_t count) {
    return timer_->TimeAttaches(count);
  }

  // Grants per second of clients that attach and drop at the same time.
  absl::StatusOr<double> Burst(uint64_t attaches) {
    const uint64_t each = (attaches + burst_.size() - 1) / burst_.size();
    const auto begin = std::chrono::steady_clock::now();
    for (const auto& worker : burst_) worker->StartBurst(each);
    RETURN_IF_ERROR(FinishAll(burst_));
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    return static_cast<double>(each * burst_.size()) / time.count();
  }

  // As an operator sees it.
  absl::StatusOr<uint64_t> CountListedLeases() const {
    const testing::CommandResult result =
        testing::Weightctl(socket_dir_).Run({"leases", "-o", "json"});
    const auto listed = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    if (result.exit_code != testing::kExitOk || !listed.is_object()) {
      return absl::UnknownError(absl::StrCat("weightctl leases: ", result.err));
    }
    const auto leases = listed.find("leases");
    return leases == listed.end() ? 0 : leases->size();
  }

  // Stages that hang, as many as run at once, and who asks for lists and waits meanwhile.
  absl::Status Hang() const {
    for (const char* model : {"h00", "h01"}) {
      const testing::CommandResult begun = testing::Weightctl(socket_dir_).Run({"stage", model});
      if (begun.exit_code != testing::kExitOk) return absl::UnknownError(begun.err);
    }
    const auto both_read = [&] {
      const testing::CommandResult result =
          testing::Weightctl(socket_dir_).Run({"status", "-o", "json"});
      const auto status = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
      return status.is_object() && status.value("jobs_running", 0) == 2;
    };
    if (testing::WaitUntil(both_read)) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat("two stages of ", options_.hung_root, " do not hang: is it a hung_fuse.py?"));
  }

  absl::Status Stop() {
    if (daemon_->Stop() == 0) return absl::OkStatus();
    return absl::UnknownError(absl::StrCat("the daemon did not end well: ", daemon_->log()));
  }

 private:
  explicit Scene(const LevelOptions& options)
      : options_(options), socket_dir_(dir_.File("sockets")) {}

  absl::Status Prepare() {
    RETURN_IF_ERROR(
        testing::WriteSafetensors(dir_.File(absl::StrCat(kModel, ".safetensors")),
                                  testing::SmallTensorSpecs(options_.tensors, kModelBytes)));
    const uint64_t leases_max = options_.leases + options_.parallel + kSpareConnections;
    std::vector<std::string> flags = {"--cuda.enabled",
                                      "OFF",
                                      "--limits.connections_per_uid_max",
                                      absl::StrCat(leases_max),
                                      "--limits.connections_max",
                                      absl::StrCat(2 * leases_max),
                                      "--limits.leases_per_uid_max",
                                      absl::StrCat(leases_max)};
    if (!options_.hung_root.empty()) {
      flags.insert(flags.end(), {"--root", options_.hung_root});
    }
    daemon_ = std::make_unique<testing::DaemonProcess>(
        testing::DaemonSetup{.root = dir_.path(), .socket_dir = socket_dir_, .flags = flags});
    if (!daemon_->WaitUntilServing()) return absl::UnavailableError(daemon_->log());
    ASSIGN_OR_RETURN(listeners_, CountSockets(daemon_->pid()));
    const testing::CommandResult staged =
        testing::Weightctl(socket_dir_).Run({"stage", kModel, "--wait"});
    if (staged.exit_code != testing::kExitOk) return absl::UnknownError(staged.err);
    const WorkerSetup setup = {.program = options_.program,
                               .socket_dir = socket_dir_,
                               .model = kModel,
                               .tensors = options_.tensors};
    timer_ = std::make_unique<LeaseWorker>(setup);
    for (uint64_t i = 0; i < options_.holders; ++i) {
      holders_.push_back(std::make_unique<LeaseWorker>(setup));
    }
    for (uint64_t i = 0; i < options_.parallel; ++i) {
      burst_.push_back(std::make_unique<LeaseWorker>(setup));
    }
    return absl::OkStatus();
  }

  const LevelOptions options_;
  const testing::TempDir dir_;
  const std::string socket_dir_;
  std::unique_ptr<testing::DaemonProcess> daemon_;
  uint64_t listeners_ = 0;
  // Three kinds of clients, so that what one holds does not slow down another.
  std::unique_ptr<LeaseWorker> timer_;
  Workers holders_;
  Workers burst_;
};

absl::Status WarmUp(Scene& scene, const LevelOptions& options) {
  RETURN_IF_ERROR(scene.TimeAttaches(options.samples).status());
  RETURN_IF_ERROR(scene.Burst(kWarmUpAttaches).status());
  return scene.Hold(0);
}

absl::StatusOr<LevelSample> MeasureLevel(Scene& scene, const LevelOptions& options, uint64_t held) {
  LevelSample sample;
  sample.held = held;
  RETURN_IF_ERROR(scene.Hold(held));
  ASSIGN_OR_RETURN(sample.memory, scene.Memory());
  ASSIGN_OR_RETURN(const uint64_t listed, scene.CountListedLeases());
  if (listed != held) {
    return absl::InternalError(absl::StrCat("the daemon lists ", listed, " leases, wanted ", held));
  }
  ASSIGN_OR_RETURN(sample.attach_ms, scene.TimeAttaches(options.samples));
  ASSIGN_OR_RETURN(sample.grants_per_s, scene.Burst(options.grants));
  return sample;
}

}  // namespace

absl::Status LevelOptions::Validate() const {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::OkStatus();
  // Half of the daemon's descriptors are for connections, and half of these for one uid.
  const uint64_t wanted = 4 * (leases + parallel + kSpareConnections);
  if (limit.rlim_max >= wanted) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("hold ", leases, " leases: RLIMIT_NOFILE is at most ", limit.rlim_max,
                   ", wanted ", wanted, "; raise it (ulimit -Hn) or give fewer --leases"));
}

std::vector<uint64_t> LevelOptions::levels() const {
  std::vector<uint64_t> levels;
  for (uint64_t level = 1; level < leases; level *= 10) levels.push_back(level);
  levels.push_back(leases);
  return levels;
}

double RoundSample::bytes_per_lease() const {
  const LevelSample& first = levels.front();
  const LevelSample& last = levels.back();
  return (static_cast<double>(last.memory.anon_bytes) -
          static_cast<double>(first.memory.anon_bytes)) /
         static_cast<double>(last.held - first.held);
}

absl::StatusOr<RoundSample> MeasureRound(const LevelOptions& options) {
  RoundSample round;
  ASSIGN_OR_RETURN(const std::unique_ptr<Scene> scene, Scene::Create(options));
  RETURN_IF_ERROR(WarmUp(*scene, options));
  ASSIGN_OR_RETURN(round.idle, scene->Memory());
  for (const uint64_t held : options.levels()) {
    ASSIGN_OR_RETURN(LevelSample level, MeasureLevel(*scene, options, held));
    round.levels.push_back(std::move(level));
  }
  RETURN_IF_ERROR(scene->Hold(0));
  ASSIGN_OR_RETURN(round.dropped, scene->Memory());
  RETURN_IF_ERROR(scene->Hold(options.leases));
  ASSIGN_OR_RETURN(round.regrown, scene->Memory());
  RETURN_IF_ERROR(scene->Hold(0));
  ASSIGN_OR_RETURN(round.leases_left, scene->CountListedLeases());
  if (!options.hung_root.empty()) {
    ASSIGN_OR_RETURN(round.idle_attach_ms, scene->TimeAttaches(options.samples));
    RETURN_IF_ERROR(scene->Hang());
    ASSIGN_OR_RETURN(round.hung_attach_ms, scene->TimeAttaches(options.samples));
  }
  RETURN_IF_ERROR(scene->Stop());
  return round;
}

}  // namespace weightd::bench
