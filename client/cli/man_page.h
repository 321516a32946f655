#ifndef WEIGHTD_CLIENT_CLI_MAN_PAGE_H_
#define WEIGHTD_CLIENT_CLI_MAN_PAGE_H_

#include <CLI/CLI.hpp>
#include <string>

namespace weightd::cli {

// weightctl(1), of the table of verbs and the options of `app`. Thread-safe.
std::string WeightctlManPage(const CLI::App& app);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_MAN_PAGE_H_
