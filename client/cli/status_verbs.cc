#include <memory>
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/daemon.h"
#include "client/cli/json.h"
#include "client/cli/preloads.h"
#include "client/cli/stage_report.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "client/cli/verbs.h"
#include "client/cli/watch.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

absl::StatusOr<v1::GetStatusResponse> FetchStatus(const GlobalOptions& options) {
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(options));
  return daemon.Call(&v1::WeightCache::Stub::GetStatus, v1::GetStatusRequest());
}

std::string StorageText(const v1::StorageStatus& storage) {
  std::string text = storage.engine();
  if (!storage.engine_reason().empty()) absl::StrAppend(&text, " (", storage.engine_reason(), ")");
  return absl::StrCat(text, ", blocks of ", FormatBytes(storage.block_bytes()), ", pool of ",
                      FormatBytes(storage.pool_bytes()), " in ", storage.pool_pages(), " pages");
}

void PrintDevices(const v1::GetStatusResponse& status, const Io& io) {
  Table table({{"DEVICE"},
               {"NAME"},
               {"SHARE"},
               {"PAGES"},
               {"USED", true},
               {"BUDGET", true},
               {"LEASED", true},
               {"PINNED", true},
               {"TOTAL", true}});
  for (const v1::Device& device : status.devices()) {
    const bool is_default = device.id() == status.default_device();
    table.AddRow({absl::StrCat(device.id(), is_default ? " (default)" : ""), device.name(),
                  device.share(), device.pages(), FormatBytes(device.used_bytes()),
                  FormatBytes(device.budget_bytes()), FormatBytes(device.leased_bytes()),
                  FormatBytes(device.pinned_bytes()), FormatBytes(device.total_bytes())});
  }
  table.Print(io.out, io.color);
}

std::string PinsText(const v1::GetStatusResponse& status) {
  if (status.state_file().empty()) return "not kept over a restart";
  if (status.state().error().empty()) return absl::StrCat("kept in ", status.state_file());
  const std::string since = FormatTime(status.state().failing_since());
  return absl::StrCat("not kept over a restart: ", status.state_file(), " is not written",
                      since.empty() ? "" : absl::StrCat(" since ", since));
}

void PrintStatus(const v1::GetStatusResponse& status, const Io& io) {
  const auto line = [&io](const char* name, const std::string& text) {
    io.out << name << "  " << Printable(text) << '\n';
  };
  line("version ", status.version());
  line("pid     ", absl::StrCat(status.pid(), ", since ", FormatTime(status.start_time())));
  line("state   ", status.draining() ? "draining" : "serving");
  line("sockets ", status.socket_dir());
  line("roots   ", absl::StrJoin(status.roots(), ", "));
  for (const v1::RootWatch& watch : status.root_watches()) {
    if (!watch.notified()) {
      line("scanned ", absl::StrCat(watch.root(), " from time to time: ", watch.reason()));
    }
  }
  for (const v1::VolumeStatus& volume : status.volumes()) {
    for (const std::string& text : StuckTexts(volume)) line("stuck   ", text);
    if (!volume.problem().empty()) {
      line("root    ", absl::StrCat(volume.root(), ": ", volume.problem()));
    }
  }
  line("pins    ", PinsText(status));
  line("storage ", StorageText(status.storage()));
  line("jobs    ",
       absl::StrCat(status.jobs_running(), " running, ", status.jobs_queued(), " queued"));
  line("leases  ", absl::StrCat(status.lease_count()));
  for (const v1::Preload& preload : status.preloads()) {
    line("preload ", absl::StrCat(preload.model(), ": ", PreloadText(preload)));
  }
  for (const v1::Warning& warning : status.warnings()) line("warning ", warning.text());
  io.out << '\n';
  PrintDevices(status, io);
}

absl::Status RunStatus(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const v1::GetStatusResponse status, FetchStatus(invocation.options));
  if (invocation.json()) {
    invocation.io.out << JsonText(invocation, ToJson(status));
  } else {
    PrintStatus(status, invocation.io);
  }
  return absl::OkStatus();
}

absl::Status RunStages(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  ASSIGN_OR_RETURN(
      const v1::ListStageReportsResponse response,
      daemon.Call(&v1::WeightCache::Stub::ListStageReports, v1::ListStageReportsRequest()));
  const Io& io = invocation.io;
  if (invocation.json()) {
    io.out << JsonText(invocation, ToJson(response));
    return absl::OkStatus();
  }
  Table table({{"JOB", true},
               {"MODEL"},
               {"DEVICE"},
               {"ENDED"},
               {"RATE", true},
               {"ENGINE"},
               {"HOW"},
               {"PHASES"},
               {"ERROR"}});
  for (const v1::StageReport& report : response.reports()) {
    const bool failed = !report.error().empty();
    table.AddRow({absl::StrCat(report.job_id()), report.model(),
                  absl::StrJoin(report.devices(), ", "), FormatTime(report.end_time()),
                  FormatRate(report.bytes_per_second()), report.engine(), ModesText(report),
                  failed ? "" : PhasesText(report), report.error()});
  }
  table.Print(io.out, io.color);
  return absl::OkStatus();
}

// The client's version needs no daemon, so only its absence is reported, and not as an error.
absl::Status RunVersion(const Invocation& invocation) {
  const absl::StatusOr<v1::GetStatusResponse> status = FetchStatus(invocation.options);
  std::ostream& out = invocation.io.out;
  if (invocation.json()) {
    nlohmann::ordered_json versions = {{"client", ClientVersion()}};
    if (status.ok()) versions["daemon"] = status->version();
    out << JsonDocument(versions);
    return absl::OkStatus();
  }
  out << "weightctl " << ClientVersion() << '\n';
  if (status.ok()) {
    out << "weightd   " << Printable(status->version()) << '\n';
  } else {
    invocation.io.err << "weightctl: no daemon's version: " << Printable(status.status().message())
                      << '\n';
  }
  return absl::OkStatus();
}

}  // namespace

std::string ClientVersion() { return WEIGHTD_VERSION; }

void AddStatusVerbs(CLI::App& app, Invocation& invocation) {
  const auto status = std::make_shared<WatchArguments>();
  AddWatch(AddVerb(app, invocation, "status",
                   [&invocation, status] { return ShowOrWatch(invocation, *status, RunStatus); }),
           *status);
  const auto stages = std::make_shared<WatchArguments>();
  AddWatch(AddVerb(app, invocation, "stages",
                   [&invocation, stages] { return ShowOrWatch(invocation, *stages, RunStages); }),
           *stages);
  AddVerb(app, invocation, "version", [&invocation] { return RunVersion(invocation); });
}

}  // namespace weightd::cli
