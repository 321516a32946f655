#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/daemon.h"
#include "client/cli/doctor.h"
#include "client/cli/json.h"
#include "client/cli/text.h"
#include "client/cli/verbs.h"
#include "client/cpp/daemon_connection.h"
#include "common/environment_facts.h"
#include "common/errors.h"
#include "common/proc_text.h"
#include "common/socket_paths.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

// Roots are read one after the other, two seconds each where they are slow.
constexpr absl::Duration kDiagnosisTime = absl::Minutes(2);
constexpr size_t kNameWidth = 14;

struct Look {
  const char* word;
  const char* color;
};

Look LookOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return {"pass", "\x1b[32m"};
    case Verdict::kWarn:
      return {"warn", "\x1b[33m"};
    case Verdict::kFail:
      return {"fail", "\x1b[31m"};
    case Verdict::kSkip:
      return {"skip", "\x1b[2m"};
  }
  return {"skip", ""};
}

size_t Count(const std::vector<Check>& checks, Verdict verdict) {
  return static_cast<size_t>(
      std::count_if(checks.begin(), checks.end(),
                    [verdict](const Check& check) { return check.verdict == verdict; }));
}

void PrintChecks(const std::vector<Check>& checks, const Io& io) {
  size_t width = kNameWidth;
  for (const Check& check : checks) width = std::max(width, DisplayWidth(Printable(check.name)));
  for (const Check& check : checks) {
    const Look look = LookOf(check.verdict);
    const std::string name = Printable(check.name);
    io.out << (io.color ? look.color : "") << look.word << (io.color ? "\x1b[0m" : "") << "  "
           << name << std::string(width - DisplayWidth(name) + 2, ' ') << Printable(check.found)
           << '\n';
    if (!check.fix.empty()) {
      io.out << std::string(width + 8, ' ') << "fix: " << Printable(check.fix) << '\n';
    }
  }
}

nlohmann::ordered_json ChecksJson(const std::vector<Check>& checks) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Check& check : checks) {
    list.push_back({{"check", check.name},
                    {"result", LookOf(check.verdict).word},
                    {"found", check.found},
                    {"fix", check.fix}});
  }
  return {{"checks", list},
          {"passed", Count(checks, Verdict::kPass)},
          {"warned", Count(checks, Verdict::kWarn)},
          {"failed", Count(checks, Verdict::kFail)},
          {"skipped", Count(checks, Verdict::kSkip)}};
}

void Append(std::vector<Check> more, std::vector<Check>& checks) {
  for (Check& check : more) checks.push_back(std::move(check));
}

// What only the daemon sees.
void AddDaemonSide(const v1::DiagnoseResponse& facts, const v1::GetStatusResponse& status,
                   bool reads, const ProcessFacts& own, uint32_t socket_gid,
                   std::vector<Check>& checks) {
  const ProcessFacts process = FromProto(facts.process());
  const MachineFacts machine = FromProto(facts.machine());
  if (facts.has_access()) {
    checks.push_back(CheckAllowList(facts.access(), socket_gid));
  } else {
    Append(CheckWithheld(reads, own), checks);
  }
  checks.push_back(CheckUring(&status.storage(), process, machine));
  checks.push_back(CheckSeccomp(process));
  checks.push_back(CheckMemlock(&status.storage(), process));
  checks.push_back(CheckHugePages(machine));
  for (const v1::RootFacts& root : facts.roots()) checks.push_back(CheckRoot(root, reads));
  checks.push_back(CheckHostMemory(status, ProcNumber(ReadProcFile("/proc/meminfo"), "Shmem")));
  Append(CheckGpus(facts.driver(), status), checks);
  const bool uses_gpus =
      std::any_of(status.devices().begin(), status.devices().end(),
                  [](const v1::Device& device) { return device.share() == "CUDA_IPC"; });
  checks.push_back(CheckPidNamespace(process.pid_namespace, own.pid_namespace, uses_gpus));
}

// Without the daemon's word: what holds for this process, on the same machine.
void AddCallerSide(const ProcessFacts& own, std::vector<Check>& checks) {
  const MachineFacts machine = ReadMachineFacts();
  checks.push_back(CheckUring(nullptr, own, machine));
  checks.push_back(CheckSeccomp(own));
  checks.push_back(CheckMemlock(nullptr, own));
  checks.push_back(CheckHugePages(machine));
}

std::vector<Check> Examine(const GlobalOptions& options, bool reads) {
  std::vector<Check> checks;
  const ProcessFacts own = ReadProcessFacts();
  const PathFacts directory = LookAt(options.socket_dir);
  const PathFacts socket = LookAt(RpcSocketPath(options.socket_dir));
  const PathFacts handles = LookAt(HandleSocketPath(options.socket_dir));
  checks.push_back(CheckSocket(directory, socket, own));
  const absl::StatusOr<Daemon> daemon = Daemon::Connect(options);
  absl::StatusOr<v1::GetStatusResponse> status =
      daemon.ok() ? daemon->Call(&v1::WeightCache::Stub::GetStatus, v1::GetStatusRequest())
                  : absl::StatusOr<v1::GetStatusResponse>(daemon.status());
  if (!status.ok()) {
    // One is missed with the other.
    if (socket.error_number == 0) checks.push_back(CheckHandleSocket(handles, nullptr, own));
    checks.push_back(CheckUnreachable(status.status(), directory, own));
    AddCallerSide(own, checks);
    return checks;
  }
  const absl::Status answer = client::AskWhoAmI(DirectoryOf(options));
  checks.push_back(CheckHandleSocket(handles, &answer, own));
  Append(CheckDaemon(*status, ClientVersion()), checks);
  v1::DiagnoseRequest request;
  request.set_skip_reads(!reads);
  const absl::StatusOr<v1::DiagnoseResponse> facts =
      daemon->Call(&v1::WeightCache::Stub::Diagnose, request,
                   options.timeout_given ? std::nullopt : std::optional(kDiagnosisTime));
  if (facts.ok()) {
    AddDaemonSide(*facts, *status, reads, own, socket.gid, checks);
  } else {
    checks.push_back(CheckNotAsked(facts.status(), own));
    AddCallerSide(own, checks);
  }
  return checks;
}

absl::Status RunDoctor(const Invocation& invocation, bool reads) {
  const std::vector<Check> checks = Examine(invocation.options, reads);
  if (invocation.json()) {
    invocation.io.out << JsonDocument(ChecksJson(checks));
  } else {
    PrintChecks(checks, invocation.io);
  }
  const size_t failed = Count(checks, Verdict::kFail);
  if (failed == 0) return absl::OkStatus();
  return absl::UnknownError(
      absl::StrCat(failed, " of ", Counted(checks.size(), "check"), " failed"));
}

}  // namespace

void AddDoctorVerb(CLI::App& app, Invocation& invocation) {
  const auto no_reads = std::make_shared<bool>(false);
  AddVerb(app, invocation, "doctor", [&invocation, no_reads] {
    return RunDoctor(invocation, !*no_reads);
  })->add_flag("--no-reads", *no_reads, "read no file: how fast the roots are is not measured");
}

}  // namespace weightd::cli
