// Output that cannot be written: exit code 1 and a text, whatever the command.

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/read_file.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/shell.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kTensor = "model.layers.0.experts.0.weight";

class OutputTest : public DaemonTest {
 protected:
  void SetUp() override {
    MakeModel("model", 4 << 20);
    ASSERT_NE(Start(), nullptr);
    Stage("model");
  }
  // weightctl's `arguments`, with the redirections and limits of `script`, such as "exec \"$@\"
  // >&-".
  CommandResult Ctl(const std::string& script, const std::vector<std::string>& arguments,
                    int passed_fd = -1) const {
    std::vector<std::string> command = {WeightctlProgram(), "--socket-dir", socket_dir_};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return RunInShell(script, command, passed_fd);
  }
  std::string Out(const std::string& name) const { return dir_.File(name); }
};

// Every command that says something; the model stays resident until the last.
std::vector<std::vector<std::string>> Talkative(const std::string& file, const std::string& to) {
  return {{"ls"},
          {"ls", "--watch", "--interval", "10ms"},
          {"ps"},
          {"ps", "-o", "json"},
          {"ps", "--watch"},
          {"describe", "model"},
          {"tensors", "model"},
          {"stage", "model", "--wait"},
          {"pin", "model"},
          {"unpin", "model"},
          {"verify", "model"},
          {"leases"},
          {"leases", "--watch", "--interval", "10ms"},
          {"events", "--replay", "10"},
          {"events", "--replay", "10", "-o", "json"},
          {"status"},
          {"stages"},
          {"top", "--interval", "10ms"},
          {"top", "--once"},
          {"health"},
          {"doctor", "--no-reads"},
          {"version"},
          {"read", "model", kTensor},
          {"tensorize", file, to + ".tensors"},
          {"untensorize", to + ".tensors", to + ".safetensors"},
          {"digest", file, "--to", to + ".json"},
          {"completion", "bash"},
          {"--help"},
          {"--version"},
          {"ls", "--help"},
          {"evict", "model"}};
}

TEST_F(OutputTest, FullDiskIsExitCode1ForEveryCommand) {
  for (const auto& arguments : Talkative(InRoot("model.safetensors"), Out("made"))) {
    const CommandResult result = Ctl("exec timeout 20 \"$@\" >/dev/full", arguments);
    EXPECT_EQ(result.exit_code, kExitError) << result << ::testing::PrintToString(arguments);
    EXPECT_THAT(result.err, HasSubstr("write to stdout: No space left on device"));
  }
}

TEST_F(OutputTest, ReaderThatLeftIsExitCode1ForEveryCommand) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd out(ends[1]);
  ::close(ends[0]);
  for (const auto& arguments : Talkative(InRoot("model.safetensors"), Out("made"))) {
    const CommandResult result = Ctl("exec timeout 20 \"$@\" >&3 3>&-", arguments, out.get());
    EXPECT_EQ(result.exit_code, kExitError) << result << ::testing::PrintToString(arguments);
    EXPECT_THAT(result.err, HasSubstr("write to stdout: Broken pipe"));
  }
}

// What is opened next must not become stdout: tensors went into the daemon's socket.
TEST_F(OutputTest, ClosedStdoutIsExitCode1ForEveryCommand) {
  for (const auto& arguments : Talkative(InRoot("model.safetensors"), Out("made"))) {
    const CommandResult result = Ctl("exec timeout 20 \"$@\" >&-", arguments);
    EXPECT_EQ(result.exit_code, kExitError) << result << ::testing::PrintToString(arguments);
    EXPECT_THAT(result.err, HasSubstr("write to stdout: "));
  }
  Stage("model");  // the last of them has evicted it
  EXPECT_EQ(Ctl("exec \"$@\" <&- >&- 2>&-", {"read", "model", kTensor}).exit_code, kExitError);
}

TEST_F(OutputTest, WhatShellsAndTheBuildAskIsNoExceptionToThat) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{WeightctlProgram(), "__man"},
        {WeightctlProgram(), "__complete", "--", "st"}}) {
    const CommandResult result = RunInShell("exec \"$@\" >/dev/full", command);
    EXPECT_EQ(result.exit_code, kExitError) << result;
    EXPECT_THAT(result.err, HasSubstr("write to stdout: No space left on device"));
  }
}

TEST_F(OutputTest, ClosedStderrAndStdinChangeNothing) {
  const CommandResult listed = Ctl("exec \"$@\" <&- 2>&-", {"ls"});
  EXPECT_EQ(listed.exit_code, kExitOk);
  EXPECT_THAT(listed.out, HasSubstr("model"));
  EXPECT_EQ(Ctl("exec \"$@\" <&- 2>&-", {"stage", "nowhere", "--wait"}).exit_code, kExitNotFound);
}

// A command that failed is no better for having said so to nobody.
TEST_F(OutputTest, BothErrorsAreSaid) {
  MakeModel("torn", 1 << 20);
  const CommandResult result = Ctl("exec \"$@\" >/dev/full", {"health", "--timeout", "nonsense"});
  EXPECT_EQ(result.exit_code, kExitUsage) << result;
  StopCleanly();
  EXPECT_EQ(Ctl("exec \"$@\" >/dev/full", {"ls"}).exit_code, kExitUnreachable);
}

// Blocks of 512 bytes: 1 MiB.
constexpr const char* kLimited = "ulimit -f 2048; exec \"$@\"";

TEST_F(OutputTest, LimitOnFileSizesIsToldWithFileSizeAndFix) {
  const std::string from = InRoot("model.safetensors");
  const CommandResult made = Ctl(kLimited, {"tensorize", from, Out("a.tensors")});
  EXPECT_EQ(made.exit_code, kExitError) << made;
  EXPECT_THAT(made.err, AllOf(HasSubstr("a.tensors"), HasSubstr("bytes"), HasSubstr("1048576"),
                              HasSubstr("ulimit -f")));
  EXPECT_FALSE(std::filesystem::exists(Out("a.tensors")));
  ASSERT_EQ(ctl_.Run({"tensorize", from, Out("b.tensors")}).exit_code, kExitOk);
  const CommandResult back = Ctl(kLimited, {"untensorize", Out("b.tensors"), Out("b.safetensors")});
  EXPECT_EQ(back.exit_code, kExitError) << back;
  EXPECT_THAT(back.err, HasSubstr("ulimit -f"));
  const CommandResult digest =
      Ctl("ulimit -f 0; exec \"$@\"", {"digest", from, "--to", Out("c.json")});
  EXPECT_EQ(digest.exit_code, kExitError) << digest;
  EXPECT_THAT(digest.err, AllOf(HasSubstr("c.json"), HasSubstr("ulimit -f")));
  const CommandResult read =
      Ctl("ulimit -f 0; exec \"$@\" >" + Out("tensor"), {"read", "model", kTensor});
  EXPECT_EQ(read.exit_code, kExitError) << read;
  EXPECT_THAT(read.err, AllOf(HasSubstr("write to stdout"), HasSubstr("ulimit -f")));
}

TEST_F(OutputTest, DaemonsOwnAnswersThatCannotBeWrittenAreExitCode1) {
  for (const std::string argument : {"--help", "--version", "--man"}) {
    const CommandResult result = RunInShell("exec \"$@\" >/dev/full", {DaemonProgram(), argument});
    EXPECT_EQ(result.exit_code, kExitError) << argument << result;
    EXPECT_THAT(result.err, HasSubstr("write to stdout: No space left on device"));
    EXPECT_EQ(RunInShell("exec \"$@\" >&-", {DaemonProgram(), argument}).exit_code, kExitError);
  }
  const std::vector<std::string> check = {DaemonProgram(), "--root", root_, "--check-config"};
  EXPECT_EQ(RunInShell("exec \"$@\" >/dev/full", check).exit_code, kExitError);
  EXPECT_EQ(RunInShell("exec \"$@\" >/dev/null", check).exit_code, kExitOk);
}

}  // namespace
}  // namespace weightd::testing
