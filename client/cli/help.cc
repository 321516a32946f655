#include "client/cli/help.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace weightd::cli {
namespace {

// Longer commands have what they do on the next line.
constexpr size_t kCommandWidthMax = 48;

}  // namespace

const CLI::App* FindVerb(const CLI::App& app, const std::string& name) {
  const std::vector<const CLI::App*> verbs = app.get_subcommands({});
  const auto found = std::find_if(verbs.begin(), verbs.end(),
                                  [&](const CLI::App* verb) { return verb->get_name() == name; });
  return found == verbs.end() ? nullptr : *found;
}

std::string ValueName(const CLI::Option& option) {
  if (option.get_positional()) return option.get_name(true, false);
  const std::string type = option.get_type_name();
  return type.substr(0, type.find(':'));
}

std::string ExamplesText(const std::vector<Example>& examples) {
  size_t width = 0;
  for (const Example& example : examples) {
    if (example.command.size() <= kCommandWidthMax) width = std::max(width, example.command.size());
  }
  std::string text = "Examples:\n";
  for (const Example& example : examples) {
    const std::string gap = example.command.size() <= width
                                ? std::string(width - example.command.size() + 2, ' ')
                                : "\n" + std::string(width + 4, ' ');
    absl::StrAppend(&text, "  ", example.command, gap, "# ", example.what, "\n");
  }
  return text;
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  const VerbText* verb = FindVerbText(app->get_name());
  const bool is_root = app->get_parent() == nullptr;
  if (verb == nullptr && !is_root) return CLI::Formatter::make_description(app);
  return absl::StrCat(app->get_description(), "\n\n",
                      ExamplesText(is_root ? GeneralExamples() : verb->examples), "\n");
}

std::string HelpFormatter::make_footer(const CLI::App* app) const {
  const CLI::App* root = app->get_parent();
  if (root == nullptr) return CLI::Formatter::make_footer(app);
  std::string text = "Everywhere:";
  for (const CLI::Option* option : root->get_options()) {
    if (option->get_items_expected_max() == 0) continue;  // --help, --version
    absl::StrAppend(&text, text.back() == ':' ? " " : ", ", option->get_name(false, true), " ",
                    ValueName(*option));
  }
  return absl::StrCat(text, "; weightctl --help tells more, and the exit codes.\n");
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  if (option->get_positional()) return option->get_required() ? "" : " (optional)";
  if (option->get_items_expected_max() == 0) return "";
  const bool is_list = option->get_expected_max() == CLI::detail::expected_max_vector_size;
  return absl::StrCat(" ", ValueName(*option), is_list ? " ..." : "");
}

}  // namespace weightd::cli
