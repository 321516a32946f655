#ifndef WEIGHTD_CLIENT_CLI_WATCH_H_
#define WEIGHTD_CLIENT_CLI_WATCH_H_

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/invocation.h"

namespace weightd::cli {

// --watch and --interval.
struct WatchArguments {
  bool watch = false;
  std::string interval_text;

  // --interval, or two seconds.
  absl::StatusOr<absl::Duration> interval() const;
};

// For a verb that watches anyway.
void AddInterval(CLI::App* verb, WatchArguments& arguments);
// For a verb that shows what is now.
void AddWatch(CLI::App* verb, WatchArguments& arguments);

// Shows once, or with --watch again and again until SIGINT, which is no error. On a terminal each
// look is drawn over the one before; elsewhere one comes below the other, an empty line between
// them, and JSON is one line each. `show` writes to the `out` of the invocation that it gets. The
// first look must succeed; later ones may fail while the daemon is restarted, which is shown.
absl::Status ShowOrWatch(const Invocation& invocation, const WatchArguments& arguments,
                         absl::FunctionRef<absl::Status(const Invocation&)> show);

// What JSON verbs print: a document, or a line while they watch.
std::string JsonText(const Invocation& invocation, const nlohmann::ordered_json& value);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_WATCH_H_
