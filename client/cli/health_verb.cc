#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/daemon.h"
#include "client/cli/json.h"
#include "client/cli/preloads.h"
#include "client/cli/text.h"
#include "client/cli/verbs.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

// A socket that nobody listens on is not asked more often than ten times a second, and a daemon
// that stages not more often than it has news.
constexpr absl::Duration kPause = absl::Milliseconds(100);

struct HealthArguments {
  bool staged = false;
  std::string wait_text;
};

struct Health {
  std::string status;  // "SERVING"
  std::vector<v1::Preload> preloads;
};

// OK when it is as it should be. `health` is filled in as far as the daemon answered.
absl::Status Ask(const GlobalOptions& options, bool staged, Health& health) {
  health = {};
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(options));
  ASSIGN_OR_RETURN(health.status, daemon.CheckHealth());
  if (staged) {
    ASSIGN_OR_RETURN(const v1::GetStatusResponse status,
                     daemon.Call(&v1::WeightCache::Stub::GetStatus, v1::GetStatusRequest()));
    health.preloads = {status.preloads().begin(), status.preloads().end()};
  }
  if (health.status != "SERVING") {
    return absl::FailedPreconditionError(absl::StrCat("weightd is ", health.status));
  }
  return CheckPreloads(health.preloads);
}

// Whether it may be otherwise a little later.
bool IsWorthWaiting(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded ||
         status.code() == absl::StatusCode::kFailedPrecondition;
}

absl::Status AskUntil(GlobalOptions options, bool staged, absl::Duration wait, Health& health) {
  const absl::Time deadline = absl::Now() + wait;
  const absl::Duration usual = options.timeout;
  while (true) {
    // A daemon that hangs must not make it longer than it was allowed to take.
    const absl::Duration left = deadline - absl::Now();
    options.timeout =
        wait == absl::ZeroDuration() ? usual : std::clamp(left, kPause, std::max(usual, kPause));
    absl::Status status = Ask(options, staged, health);
    if (status.ok() || !IsWorthWaiting(status) || absl::Now() + kPause >= deadline) return status;
    absl::SleepFor(kPause);
  }
}

void Print(const Invocation& invocation, const HealthArguments& arguments, const Health& health) {
  std::ostream& out = invocation.io.out;
  const std::string missing = MissingPreloads(health.preloads);
  if (!invocation.json()) {
    // Whoever asked with --staged takes SERVING for the whole answer.
    out << (missing.empty() ? health.status : absl::StrCat("WAITING for ", Printable(missing)))
        << '\n';
    return;
  }
  nlohmann::ordered_json answer = {{"status", health.status}};
  if (arguments.staged) {
    answer["staged"] = missing.empty();
    answer["preloads"] = nlohmann::ordered_json::array();
    for (const v1::Preload& preload : health.preloads) {
      answer["preloads"].push_back(ToJson(preload));
    }
  }
  out << JsonDocument(answer);
}

absl::Status RunHealth(const Invocation& invocation, const HealthArguments& arguments) {
  absl::Duration wait = absl::ZeroDuration();
  if (!arguments.wait_text.empty()) {
    ASSIGN_OR_RETURN(wait, ParseTimeout(arguments.wait_text));
  }
  Health health;
  absl::Status status = AskUntil(invocation.options, arguments.staged, wait, health);
  if (!health.status.empty()) Print(invocation, arguments, health);
  return status;
}

}  // namespace

void AddHealthVerb(CLI::App& app, Invocation& invocation) {
  const auto arguments = std::make_shared<HealthArguments>();
  CLI::App* verb = AddVerb(app, invocation, "health",
                           [&invocation, arguments] { return RunHealth(invocation, *arguments); });
  verb->add_flag("--staged", arguments->staged,
                 "and every model of the daemon's `preload` setting is resident");
  verb->add_option("--wait", arguments->wait_text, "until it is so, at most: 30s, 10m")
      ->type_name("TIME");
}

}  // namespace weightd::cli
