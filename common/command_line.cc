#include "common/command_line.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace weightd {

std::vector<std::string> ReversedArguments(int argc, const char* const* argv) {
  std::vector<std::string> arguments;
  bool names_end = false;
  for (int i = 1; i < argc; ++i) {
    const absl::string_view argument = argv[i];
    names_end = names_end || argument == "--";
    const bool is_empty_value =
        !names_end && absl::StartsWith(argument, "--") && argument.find('=') == argument.size() - 1;
    if (is_empty_value) {
      arguments.emplace_back(argument.substr(0, argument.size() - 1));
      arguments.emplace_back();
    } else {
      arguments.emplace_back(argument);
    }
  }
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

}  // namespace weightd
