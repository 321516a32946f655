#include "client/cli/weightctl.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/complete.h"
#include "client/cli/daemon.h"
#include "client/cli/exit_codes.h"
#include "client/cli/help.h"
#include "client/cli/man_page.h"
#include "client/cli/suggestion.h"
#include "client/cli/text.h"
#include "client/cli/verb_table.h"
#include "client/cli/verbs.h"
#include "common/check.h"
#include "common/command_line.h"
#include "common/socket_paths.h"
#include "common/standard_streams.h"

namespace weightd::cli {
namespace {

constexpr const char* kFooter =
    "\nData goes to stdout, messages to stderr. -o json prints the API's messages "
    "(weightd.v1),\none document per command; `events` prints one line per event.\n";

void AddGlobalOptions(CLI::App& app, GlobalOptions& options) {
  app.add_option("--socket-dir", options.socket_dir,
                 absl::StrCat("directory of weightd's sockets [", kSocketDirVariable, "]"))
      ->type_name("DIR");
  app.add_option_function<std::string>(
         "-o,--output",
         [&options](const std::string& text) {
           if (text != "table" && text != "json") {
             throw CLI::ValidationError("--output", "`" + text + "` is not table or json");
           }
           options.output = text == "json" ? OutputFormat::kJson : OutputFormat::kTable;
         },
         "table (default) or json")
      ->type_name("FORMAT");
  app.add_option_function<std::string>(
         "--timeout",
         [&options](const std::string& text) {
           const absl::StatusOr<absl::Duration> timeout = ParseTimeout(text);
           if (!timeout.ok()) {
             throw CLI::ValidationError("--timeout", std::string(timeout.status().message()));
           }
           options.timeout = *timeout;
           options.timeout_given = true;
         },
         "for connecting and for the whole answer: 10s (default), 500ms, 2m; with --watch of each "
         "look; `stage --wait`, `read --wait`, `verify`, `events` and what works on files end by "
         "it only where it is given")
      ->type_name("TIME");
}

// Why the command line is none, and what was probably meant.
std::string UsageText(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> left = app.remaining();
  if (!app.get_subcommands().empty() || left.empty()) {
    return absl::StrCat(Printable(error.what()), "; see weightctl --help");
  }
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
  const std::string meant = Suggestion(left.front(), verbs);
  return absl::StrCat("there is no command `", Printable(left.front()), "`; ",
                      meant.empty() ? "" : absl::StrCat("did you mean `", meant, "`? "),
                      "see weightctl --help");
}

void PrintError(const absl::Status& status, const Invocation& invocation) {
  Io& io = invocation.io;
  // gRPC itself sends no text with some codes.
  const absl::string_view message = status.message();
  const std::string text =
      message.empty() ? absl::StatusCodeToString(status.code()) : std::string(message);
  io.err << "weightctl: " << Printable(invocation.what) << ": " << Printable(text) << '\n';
  const std::string hint = HintFor(status);
  if (!hint.empty()) io.err << "hint: " << hint << '\n';
}

// The order is that of the help.
void AddEverything(CLI::App& app, Invocation& invocation) {
  app.formatter(std::make_shared<HelpFormatter>());
  app.footer(absl::StrCat(kFooter, "\n", ExitCodeHelp()));
  app.set_version_flag("--version", ClientVersion());
  app.require_subcommand(1);
  AddGlobalOptions(app, invocation.options);
  AddModelVerbs(app, invocation);
  AddStageVerbs(app, invocation);
  AddLeaseVerbs(app, invocation);
  AddReadVerb(app, invocation);
  AddStatusVerbs(app, invocation);
  AddTopVerb(app, invocation);
  AddHealthVerb(app, invocation);
  AddDoctorVerb(app, invocation);
  AddFileVerbs(app, invocation);
  AddCompletionVerb(app, invocation);
}

// What the shells' scripts and the build ask; nobody types it, so no help has it.
bool AnswersMachine(const CLI::App& app, const Invocation& invocation, int argc,
                    const char* const* argv) {
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (words.empty()) return false;
  if (words[0] == "__man") {
    invocation.io.out << WeightctlManPage(app);
    return true;
  }
  if (words[0] != "__complete" || words.size() < 3 || words[1] != "--") return false;
  invocation.io.out << CompletionText(
      Complete(app, {words.begin() + 2, words.end()}, DaemonAsker(invocation.options)));
  return true;
}

// The exit code of a run that came to `code`: 0 says that all it had to say was written.
int AfterOutput(int code, const std::string& what, Io& io) {
  io.out.flush();
  if (io.out.good()) return code;
  const int error = io.sink == nullptr || io.sink->error() == 0 ? EIO : io.sink->error();
  io.err << "weightctl: " << (what.empty() ? "" : Printable(what) + ": ")
         << StdoutError(error).message() << '\n';
  return static_cast<int>(ExitCode::kError);
}

int Run(int argc, const char* const* argv, CLI::App& app, Invocation& invocation) {
  Io& io = invocation.io;
  if (AnswersMachine(app, invocation, argc, argv)) {
    return AfterOutput(static_cast<int>(ExitCode::kOk), "", io);
  }
  try {
    app.parse(ReversedArguments(argc, argv));
  } catch (const CLI::ParseError& error) {
    const bool asked_for_help = error.get_exit_code() == 0;
    if (asked_for_help) {
      (void)app.exit(error, io.out, io.err);
      return static_cast<int>(ExitCode::kOk);
    }
    io.err << "weightctl: " << UsageText(app, error) << '\n';
    return static_cast<int>(ExitCode::kUsage);
  }
  SetSocketDir(ResolveSocketDir(invocation.options.socket_dir), invocation.options);
  const absl::Status status = invocation.run();
  if (!status.ok()) PrintError(status, invocation);
  return static_cast<int>(ExitCodeOf(status));
}

}  // namespace

CLI::App* AddVerb(CLI::App& app, Invocation& invocation, const std::string& name,
                  std::function<absl::Status()> run) {
  const VerbText* text = FindVerbText(name);
  WEIGHTD_CHECK(text != nullptr);
  CLI::App* verb = app.add_subcommand(name, text->description);
  verb->fallthrough();  // global options may stand after the verb
  verb->callback([&invocation, name, run = std::move(run)] {
    invocation.what = name;
    invocation.run = run;
  });
  return verb;
}

int RunWeightctl(int argc, const char* const* argv, Io& io) {
  Invocation invocation{.io = io, .options = {}, .what = {}, .run = {}};
  CLI::App app("Asks and operates weightd, the node's weight cache", "weightctl");
  AddEverything(app, invocation);
  const int code = Run(argc, argv, app, invocation);
  return AfterOutput(code, invocation.what, io);
}

}  // namespace weightd::cli
