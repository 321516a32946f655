#ifndef WEIGHTD_TESTS_INTEGRATION_SYMPTOMS_SYMPTOMS_FIXTURE_H_
#define WEIGHTD_TESTS_INTEGRATION_SYMPTOMS_SYMPTOMS_FIXTURE_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/symptoms/symptom_table.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"

namespace weightd::testing {

// What stands in the log is found in it whatever its form.
inline constexpr const char* kLogFormats[] = {"TEXT", "JSON"};

class SymptomsTest : public DaemonTest {
 protected:
  // What a daemon that cannot start says before it ends.
  std::string Refusal(const std::vector<std::string>& flags) const {
    DaemonProcess daemon({.root = root_, .socket_dir = socket_dir_, .flags = flags});
    EXPECT_NE(daemon.WaitForExit(), std::optional(0));
    return daemon.log();
  }
  // What a command that must fail says.
  std::string Failure(const Weightctl::Arguments& arguments) const {
    const CommandResult result = ctl_.Run(arguments);
    EXPECT_NE(result.exit_code, kExitOk) << result;
    return result.err;
  }
  std::string StatusText() const { return ctl_.Run({"status"}).out; }
  std::string Config(const std::string& text) const {
    std::string path = dir_.File("weightd.textproto");
    EXPECT_OK(WriteRawFile(path, text));
    return path;
  }
  // Stages `model`, and does something while a read of it is held.
  std::string StageWhile(const std::vector<std::string>& flags,
                         const std::function<void()>& meanwhile, bool release = true) {
    MakeModel("model", 24 << 20);
    const HeldRead held(dir_, "/model.safetensors", 9'000'000);
    std::vector<std::string> all = kPread;
    all.insert(all.end(), flags.begin(), flags.end());
    Start(all, held.environment());
    const auto stage = ctl_.Start({"stage", "model", "--wait"});
    EXPECT_TRUE(held.WaitUntilReached());
    meanwhile();
    if (release) held.Release();
    EXPECT_NE(stage->WaitForExit(), std::optional(kExitOk));
    if (!release) held.Release();
    return stage->err();
  }
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_SYMPTOMS_SYMPTOMS_FIXTURE_H_
