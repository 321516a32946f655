#ifndef WEIGHTD_COMMON_COMMAND_LINE_H_
#define WEIGHTD_COMMON_COMMAND_LINE_H_

#include <string>
#include <vector>

namespace weightd {

// The arguments after the program's name, as CLI::App::parse(std::vector) wants them: last first.
// `--name=` becomes `--name` and an empty argument: CLI11 2.1 takes it for a name without a value,
// and the next argument for its value. Pure.
std::vector<std::string> ReversedArguments(int argc, const char* const* argv);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_COMMAND_LINE_H_
