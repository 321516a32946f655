#ifndef WEIGHTD_CLIENT_CLI_HELP_H_
#define WEIGHTD_CLIENT_CLI_HELP_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "client/cli/verb_table.h"

namespace weightd::cli {

// The verb of that name; null for none.
const CLI::App* FindVerb(const CLI::App& app, const std::string& name);

// What an option's value is called: "MODE", without CLI11's list of values behind it.
std::string ValueName(const CLI::Option& option);

// The examples, commands in one column and what they do in another.
std::string ExamplesText(const std::vector<Example>& examples);

// --help: what it is for, examples, and then usage and options. A verb's help names the global
// options, too. Thread-safe.
class HelpFormatter final : public CLI::Formatter {
 public:
  std::string make_description(const CLI::App* app) const override;
  std::string make_footer(const CLI::App* app) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_HELP_H_
