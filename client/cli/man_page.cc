#include "client/cli/man_page.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_codes.h"
#include "client/cli/help.h"
#include "client/cli/verb_table.h"
#include "client/cli/verbs.h"
#include "common/man_page.h"
#include "common/socket_paths.h"

namespace weightd::cli {
namespace {

// "-o, --output FORMAT".
std::string OptionTerm(const CLI::Option& option) {
  std::string term;
  const auto add = [&term](absl::string_view name) {
    absl::StrAppend(&term, term.empty() ? "" : ", ", name);
  };
  for (const std::string& name : option.get_snames()) add(absl::StrCat("-", name));
  for (const std::string& name : option.get_lnames()) add(absl::StrCat("--", name));
  if (term.empty()) return option.get_name(true, false);
  if (option.get_items_expected_max() != 0) absl::StrAppend(&term, " ", ValueName(option));
  return term;
}

void AddOptions(const CLI::App& app, bool with_help, ManPage& page) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    const bool is_help = option == app.get_help_ptr();
    if (is_help && !with_help) continue;
    page.Term(OptionTerm(*option), option->get_description());
  }
}

std::string ExampleLines(const std::vector<Example>& examples) {
  std::string lines;
  for (const Example& example : examples) {
    absl::StrAppend(&lines, lines.empty() ? "" : "\n", "# ", example.what, "\n", example.command);
  }
  return lines;
}

std::string Synopsis(const CLI::App& verb) {
  std::string text = absl::StrCat("weightctl ", verb.get_name(), " [OPTION]...");
  for (const CLI::Option* option : verb.get_options()) {
    if (!option->get_positional()) continue;
    const std::string name = option->get_name(true, false);
    absl::StrAppend(&text, " ", option->get_required() ? name : absl::StrCat("[", name, "]"));
  }
  return text;
}

}  // namespace

std::string WeightctlManPage(const CLI::App& app) {
  ManPage page("weightctl", 1, absl::StrCat("weightd ", ClientVersion()),
               "ask and operate weightd, the node's weight cache");
  page.Section("SYNOPSIS");
  page.Paragraph("weightctl [OPTION]... COMMAND [ARGUMENT]...");
  page.Section("EXAMPLES");
  page.Lines(ExampleLines(GeneralExamples()));
  page.Section("DESCRIPTION");
  page.Paragraph(
      "weightctl talks to weightd(8) over the Unix socket in its socket directory. Data goes to "
      "stdout, messages to stderr. With -o json it prints the messages of the API (weightd.v1).");
  page.Section("OPTIONS");
  page.Paragraph("They may stand before the command or after it.");
  AddOptions(app, /*with_help=*/true, page);
  page.Section("COMMANDS");
  for (const VerbText& verb : VerbTable()) {
    const CLI::App* parsed = FindVerb(app, verb.name);
    if (parsed == nullptr) continue;
    page.Subsection(Synopsis(*parsed));
    page.Paragraph(verb.description + ".");
    if (!verb.details.empty()) page.Paragraph(verb.details);
    AddOptions(*parsed, /*with_help=*/false, page);
    page.Lines(ExampleLines(verb.examples));
  }
  page.Section("EXIT STATUS");
  page.Lines(ExitCodeHelp());
  page.Section("ENVIRONMENT");
  page.Term(kSocketDirVariable, "The socket directory, where --socket-dir does not name one.");
  page.Term("NO_COLOR", "Anything but the empty text: nothing is coloured, on a terminal either.");
  page.Section("SEE ALSO");
  page.Paragraph("weightd(8)");
  return page.text();
}

}  // namespace weightd::cli
