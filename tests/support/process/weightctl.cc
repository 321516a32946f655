#include "tests/support/process/weightctl.h"

#include <ostream>

#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/support/process/programs.h"

namespace weightd::testing {
namespace {

CommandResult Finish(const ChildOptions& options) {
  ChildProcess child(options);
  child.CloseInput();
  const std::optional<int> status = child.WaitForExit();
  return {.exit_code = status.value_or(child.kNotStarted), .out = child.out(), .err = child.err()};
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const CommandResult& result) {
  return out << "exit code " << result.exit_code << ", stdout: " << result.out
             << ", stderr: " << result.err;
}

ChildOptions Weightctl::Options(const Arguments& arguments) const {
  ChildOptions options;
  options.argv = {WeightctlProgram(), "--socket-dir", socket_dir_};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  return options;
}

CommandResult Weightctl::Run(const Arguments& arguments) const {
  return Finish(Options(arguments));
}

CommandResult Weightctl::RunAs(uint32_t uid, uint32_t gid, const Arguments& arguments,
                               bool new_pid_namespace) const {
  ChildOptions options = Options(arguments);
  options.uid = uid;
  options.gid = gid;
  options.new_pid_namespace = new_pid_namespace;
  return Finish(options);
}

nlohmann::json Weightctl::Json(const Arguments& arguments) const {
  Arguments with_format = arguments;
  with_format.insert(with_format.end(), {"-o", "json"});
  const CommandResult result = Run(with_format);
  nlohmann::json parsed = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  if (result.exit_code == kExitOk && !parsed.is_discarded()) return parsed;
  ADD_FAILURE() << "weightctl " << absl::StrJoin(arguments, " ") << ": " << result;
  return nullptr;
}

std::unique_ptr<ChildProcess> Weightctl::Start(const Arguments& arguments) const {
  return std::make_unique<ChildProcess>(Options(arguments));
}

}  // namespace weightd::testing
