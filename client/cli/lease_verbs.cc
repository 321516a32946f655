#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/daemon.h"
#include "client/cli/json.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "client/cli/verbs.h"
#include "client/cli/watch.h"
#include "common/format_units.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

constexpr uint32_t kReplayMax = 1024;

absl::Status RunLeases(const Invocation& invocation, const std::string& model) {
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  v1::ListLeasesRequest request;
  request.set_model(model);
  ASSIGN_OR_RETURN(const v1::ListLeasesResponse response,
                   daemon.CallPaged(&v1::WeightCache::Stub::ListLeases, request));
  const Io& io = invocation.io;
  if (invocation.json()) {
    io.out << JsonText(invocation, ToJson(response));
    return absl::OkStatus();
  }
  Table table({{"LEASE", true},
               {"MODEL"},
               {"GENERATION", true},
               {"DEVICE"},
               {"PID", true},
               {"UID", true},
               {"BYTES", true},
               {"SINCE"},
               {"CLIENT"}});
  for (const v1::Lease& lease : response.leases()) {
    table.AddRow({absl::StrCat(lease.id()), lease.model(), absl::StrCat(lease.generation_id()),
                  lease.device(), lease.pid() == 0 ? "" : absl::StrCat(lease.pid()),
                  absl::StrCat(lease.uid()), FormatBytes(lease.bytes()), FormatTime(lease.since()),
                  lease.client_name()});
  }
  table.Print(io.out, io.color);
  return absl::OkStatus();
}

// "12:00:05  STAGE_DONE  model=llama device=host job=7 bytes=1024".
std::string EventLine(const v1::Event& event) {
  std::string line = absl::StrCat(FormatTime(event.time()), "  ", v1::EventType_Name(event.type()));
  const auto add_text = [&line](const char* key, const std::string& value) {
    if (!value.empty()) absl::StrAppend(&line, "  ", key, "=", Printable(value));
  };
  const auto add_number = [&line](const char* key, uint64_t value) {
    if (value != 0) absl::StrAppend(&line, "  ", key, "=", value);
  };
  add_text("model", event.model());
  add_text("device", event.device());
  add_number("generation", event.generation_id());
  add_number("job", event.job_id());
  add_number("lease", event.lease_id());
  add_number("bytes", event.bytes());
  if (event.pid() != 0) absl::StrAppend(&line, "  pid=", event.pid(), "  uid=", event.uid());
  add_text("reason", event.reason());
  add_text("detail", event.detail());
  return line + "\n";
}

struct EventsArguments {
  uint32_t replay = 0;
  uint64_t count = 0;  // 0: until interrupted
};

absl::Status RunEvents(const Invocation& invocation, const EventsArguments& arguments) {
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  v1::WatchEventsRequest request;
  request.set_replay(arguments.replay);
  std::ostream& out = invocation.io.out;
  uint64_t shown = 0;
  uint64_t last_sequence = 0;
  const auto take = [&](const v1::WatchEventsResponse& response) {
    const v1::Event& event = response.event();
    if (last_sequence != 0 && event.sequence() > last_sequence + 1) {
      invocation.io.err << "weightctl: " << Counted(event.sequence() - last_sequence - 1, "event")
                        << " missed\n";
    }
    last_sequence = event.sequence();
    out << (invocation.json() ? JsonLine(ToJson(event)) : EventLine(event)) << std::flush;
    // Output that cannot be written ends the command as well; RunWeightctl() tells.
    return ++shown == arguments.count || !out.good() ? Next::kStop : Next::kContinue;
  };
  return daemon.Stream<v1::WatchEventsRequest, v1::WatchEventsResponse>(
      &v1::WeightCache::Stub::WatchEvents, request, invocation.options.stream_timeout(), take);
}

}  // namespace

void AddLeaseVerbs(CLI::App& app, Invocation& invocation) {
  const auto model = std::make_shared<std::string>();
  const auto watch = std::make_shared<WatchArguments>();
  CLI::App* verb = AddVerb(app, invocation, "leases", [&invocation, model, watch] {
    return ShowOrWatch(invocation, *watch,
                       [&](const Invocation& look) { return RunLeases(look, *model); });
  });
  verb->add_option("MODEL", *model, "only of this model");
  AddWatch(verb, *watch);

  const auto events = std::make_shared<EventsArguments>();
  verb = AddVerb(app, invocation, "events",
                 [&invocation, events] { return RunEvents(invocation, *events); });
  verb->add_option("--replay", events->replay, "first the last N events")
      ->check(CLI::Range(uint32_t{0}, kReplayMax))
      ->type_name("N");
  verb->add_option("--count", events->count, "stop after N events")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
}

}  // namespace weightd::cli
