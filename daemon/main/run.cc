#include "daemon/main/run.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/format_units.h"
#include "common/leave_process.h"
#include "common/status_macros.h"
#include "daemon/main/drain.h"
#include "daemon/main/process_limits.h"
#include "daemon/main/reloader.h"
#include "daemon/main/watchdog.h"
#include "daemon/main/wiring.h"

namespace weightd {
namespace {

// For the calls that are being answered when the last lease has ended.
constexpr absl::Duration kLastAnswersTime = absl::Seconds(1);
// For the stages, from when they are cancelled.
constexpr absl::Duration kStagesTime = absl::Milliseconds(800);
// What a step of a drain may take when all that it waits for has ended.
constexpr absl::Duration kStepTime = absl::Seconds(1);

void LogStart(const DaemonOptions& options, const Daemon& daemon, Logger& logger) {
  std::vector<LogField> fields = {
      {"version", daemon.info.version},
      {"socket_dir", options.socket_dir},
      {"engine", std::string(ReadEngineName(daemon.residency->read_path().engine))},
      {"default_device", daemon.residency->default_device()}};
  for (const DeviceBudget& budget : daemon.devices.budgets) {
    fields.push_back({absl::StrCat("budget_bytes_", budget.device), budget.bytes});
  }
  if (daemon.metrics != nullptr) {
    fields.push_back({"metrics_port", static_cast<uint64_t>(daemon.metrics->port())});
  }
  logger.Log(LogLevel::kInfo, "serving", fields);
  Warnings warnings = daemon.info.warnings;
  const auto add = [&](const Warnings& more) {
    warnings.insert(warnings.end(), more.begin(), more.end());
  };
  add(daemon.residency->read_path().fallbacks);
  for (const auto& device : daemon.devices.devices) add(device->warnings());
  for (const Warning& warning : warnings) {
    logger.Log(LogLevel::kWarning, "degraded",
               {{"reason", std::string(WarningWord(warning.reason))}, {"detail", warning.text}});
  }
}

// Pinned models are as wanted as those that the configuration names.
void StagePinned(Daemon& daemon) {
  for (const Pin& pin : daemon.residency->pins()) {
    daemon.wishes->Add({.request = {.model = ToString(ModelRef{.model = pin.model,
                                                               .revision = pin.asked_revision}),
                                    .devices = {pin.device},
                                    .pin = true,
                                    .priority = JobPriority::kPreload},
                        .wanted = [&residency = *daemon.residency, pin] {
                          const std::vector<Pin> pins = residency.pins();
                          return std::find(pins.begin(), pins.end(), pin) != pins.end();
                        }});
  }
}

// A model that cannot be staged is an event and a line in the log, not the end of the daemon.
void Preload(const std::vector<std::string>& models, bool pin, Daemon& daemon) {
  for (const std::string& model : models) {
    daemon.wishes->Add({.request = {.model = model, .pin = pin, .priority = JobPriority::kPreload},
                        .wanted = [&refresher = *daemon.refresher, model] {
                          return refresher.IsPreloaded(model);
                        }});
  }
}

// One line on how the daemon is. Takes the locks that all work takes.
std::string StateLine(const Daemon& daemon) {
  uint64_t used_bytes = 0;
  for (const DeviceUsage& usage : daemon.residency->Usage()) used_bytes += usage.used_bytes;
  const Residency::JobCounts jobs = daemon.residency->job_counts();
  return absl::StrCat("serving: ", FormatBytes(used_bytes), " of weights, ", daemon.leases->count(),
                      " leases, ", jobs.running, " stages running, ", jobs.queued, " queued");
}

absl::StatusOr<std::string> Probe(Daemon& daemon, absl::Duration timeout) {
  const absl::Status answered = daemon.rpc->Probe(timeout);
  // Whatever else it is, it is an answer.
  if (absl::IsDeadlineExceeded(answered)) return answered;
  return StateLine(daemon);
}

void Reload(Reloader& reloader, const RunDependencies& dependencies, Daemon& daemon) {
  dependencies.service_manager.Reloading();
  const absl::StatusOr<Reloader::Reloaded> reloaded = reloader.Reload();
  if (!reloaded.ok()) {
    const std::string detail(reloaded.status().message());
    dependencies.logger.Log(LogLevel::kError, "reload_refused", {{"detail", detail}});
    dependencies.service_manager.Ready(absl::StrCat("serving; reload refused: ", detail));
    return;
  }
  dependencies.logger.Log(LogLevel::kInfo, "reloaded",
                          {{"settings", absl::StrJoin(reloaded->settings, ",")}});
  Preload(reloaded->new_preloads, reloader.options().preload_pin, daemon);
  dependencies.service_manager.Ready(StateLine(daemon));
}

// The time of a stop runs from the signal, whatever the main thread does then.
class StopHook {
 public:
  StopHook(Signals& signals, StopGuard& guard) : signals_(signals) {
    signals_.set_on_stop([&guard] { guard.Arm(); });
  }
  StopHook(const StopHook&) = delete;
  StopHook& operator=(const StopHook&) = delete;
  ~StopHook() { signals_.set_on_stop(nullptr); }

 private:
  Signals& signals_;
};

// What is known of the daemon when a step of its drain hangs.
std::string Facts(const Daemon& daemon) {
  const Residency::JobCounts jobs = daemon.residency->job_counts();
  return absl::StrCat(daemon.leases->count(), " leases, ", jobs.running, " stages running, ",
                      jobs.queued, " queued");
}

// Lease holders are told first; then everything else ends, see run.h. Each step has its time. What
// hangs is left behind: then nothing that it may use is destroyed, and the process ends here.
void Drain(const DaemonOptions& options, const RunDependencies& dependencies, StopGuard& guard,
           std::unique_ptr<Watchdog> watchdog, std::unique_ptr<Daemon> owned) {
  // The last step destroys it, unless others are left behind with it.
  Daemon* const daemon = owned.release();
  const std::shared_ptr<Watchdog> dog = std::move(watchdog);
  dependencies.service_manager.Stopping(options.drain_grace + kStopTime + kLogFlushTime);
  DrainSteps steps(guard, dependencies.logger, [daemon] { return Facts(*daemon); });
  const absl::Time deadline = dependencies.clock.Now() + options.drain_grace;
  guard.Enter("tell lease holders");
  daemon->service->StartDraining();
  daemon->events->Publish(Event::DrainStarted(daemon->leases->count()));
  const auto told = steps.Begin("tell lease holders",
                                [daemon, deadline] { daemon->leases->NotifyDraining(deadline); });
  // After the leases: all who watch the health are told one by one.
  const auto unready =
      steps.Begin("tell that it does not serve", [daemon] { daemon->rpc->SetServing(false); });
  const auto watched =
      steps.Begin("stop watching the roots", [daemon] { daemon->watcher->Stop(); });
  const auto hung = std::make_shared<std::vector<std::string>>();
  const auto staged = steps.Begin("end stages", [daemon, hung] {
    daemon->wishes->Stop();
    // Who waits for a volume is told, also for one that hangs.
    for (const auto& root : daemon->roots) root->threads()->Shutdown();
    *hung = daemon->residency->Shutdown(absl::Now() + kStagesTime);
  });
  // gRPC closes every connection as soon as it is told to shut down, and a connection that is not
  // accepted hangs: probes and operators would learn nothing of a drain that may take minutes.
  guard.Enter("wait for leases to end");
  daemon->leases->WaitUntilEmpty(deadline);

  const absl::Time end = absl::Now() + kDrainStepsTime;
  const auto left = [end](absl::Duration most) {
    return std::clamp(end - absl::Now(), absl::ZeroDuration(), most);
  };
  // Until here the manager learns that the daemon works.
  const auto probed = steps.Begin("stop the watchdog", [dog] { dog->Stop(); });
  const auto saved = steps.Begin("save the state", [daemon] { daemon->files->Stop(); });
  const auto sockets =
      steps.Begin("stop watching the sockets", [daemon] { daemon->socket_watch->Stop(); });
  for (const auto& running : {told, unready, watched, staged, probed, sockets}) {
    steps.Await(running, left(kStepTime));
  }
  if (!hung->empty()) steps.LeaveBehind("end stages", absl::StrJoin(*hung, ", "));
  // A client that does not answer gRPC's farewell would hold it up for long.
  const absl::Time answered =
      std::min(absl::Now() + left(kLastAnswersTime), std::max(deadline, absl::Now()));
  const auto calls = steps.Begin("end calls", [daemon, answered] {
    daemon->rpc->StopAccepting();
    daemon->reads->Stop();
    daemon->rpc->Shutdown(answered);
  });
  const auto handles = steps.Begin("stop the handle socket", [daemon] { daemon->handles->Stop(); });
  steps.Await(calls, left(absl::InfiniteDuration()));
  steps.Await(handles, left(kStepTime));
  steps.Await(saved, left(absl::InfiniteDuration()));
  if (steps.left_behind().empty()) {
    steps.Run("give memory and sockets back", left(absl::InfiniteDuration()),
              [daemon] { delete daemon; });
  }
  guard.Enter("say goodbye");
  if (steps.left_behind().empty()) return;
  dependencies.logger.Log(LogLevel::kInfo, "stopped",
                          {{"left_behind", absl::StrJoin(steps.left_behind(), ", ")}});
  (void)dependencies.logger.Flush(kLogFlushTime);
  LeaveProcess(0);
}

}  // namespace

absl::Status Run(const Configuration& configuration, const Reloader::Load& load,
                 const RunDependencies& dependencies) {
  RETURN_IF_ERROR(RaiseDescriptorLimit());
  const DaemonOptions& options = configuration.options;
  ASSIGN_OR_RETURN(const std::unique_ptr<StopGuard> guard,
                   StopGuard::Start(dependencies.logger, options.drain_grace));
  const StopHook hook(dependencies.signals, *guard);
  ASSIGN_OR_RETURN(std::unique_ptr<Daemon> daemon, WireDaemon(options, dependencies));
  guard->Enter("begin to serve");
  daemon->rpc->SetServing(true);
  LogStart(options, *daemon, dependencies.logger);
  StagePinned(*daemon);
  Preload(options.preload, options.preload_pin, *daemon);
  dependencies.service_manager.Ready(StateLine(*daemon));
  Reloader reloader(configuration, load,
                    {.access = *daemon->access,
                     .leases = *daemon->leases,
                     .logger = dependencies.logger,
                     .refresher = *daemon->refresher,
                     .residency = *daemon->residency,
                     .uid_limits = *daemon->uid_limits});
  ASSIGN_OR_RETURN(
      std::unique_ptr<Watchdog> watchdog,
      Watchdog::Start(
          dependencies.service_manager,
          [raw = daemon.get(), timeout = dependencies.service_manager.watchdog() / 4] {
            return Probe(*raw, timeout);
          },
          [&logger = dependencies.logger](const absl::Status& status) {
            logger.Log(LogLevel::kError, "no_answer", {{"detail", std::string(status.message())}});
          }));
  guard->Enter("serve");
  while (dependencies.signals.Wait() == Signals::Request::kReload) {
    guard->Enter("reload");
    Reload(reloader, dependencies, *daemon);
    guard->set_grace(reloader.options().drain_grace);
    guard->Enter("serve");
  }
  Drain(reloader.options(), dependencies, *guard, std::move(watchdog), std::move(daemon));
  return absl::OkStatus();
}

}  // namespace weightd
