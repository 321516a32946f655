// What the shells themselves complete, with a daemon to ask.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/process/programs.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class CompletionTest : public DaemonTest {
 protected:
  // What a shell prints for a script of ours, which finds weightctl in its PATH.
  CommandResult Shell(const std::string& shell, const std::vector<std::string>& arguments) const {
    const std::string folder = std::filesystem::path(WeightctlProgram()).parent_path();
    ChildOptions options;
    options.argv = {shell};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.environment = {absl::StrCat("PATH=", folder, ":/usr/bin:/bin"),
                           absl::StrCat("WEIGHTD_SOCKET_DIR=", socket_dir_),
                           absl::StrCat("HOME=", dir_.path()), "TERM=dumb"};
    ChildProcess child(options);
    child.CloseInput();
    const std::optional<int> status = child.WaitForExit();
    return {.exit_code = status.value_or(-1), .out = child.out(), .err = child.err()};
  }
  // Lines without the descriptions that fish shows.
  static std::vector<std::string> WordsOf(const CommandResult& result) {
    EXPECT_EQ(result.err, "");
    std::vector<std::string> words;
    for (const absl::string_view line : absl::StrSplit(result.out, '\n', absl::SkipEmpty())) {
      words.emplace_back(line.substr(0, line.find('\t')));
    }
    return words;
  }

  // The last word is the one that is typed.
  std::vector<std::string> Bash(const std::vector<std::string>& words) const {
    std::vector<std::string> arguments = {"--norc", "--noprofile", "-c", R"script(
source <(weightctl completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_weightctl "$1"
printf '%s\n' "${COMPREPLY[@]}"
)script",
                                          "test"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    return WordsOf(Shell("/bin/bash", arguments));
  }
  std::vector<std::string> Fish(const std::string& line) const {
    return WordsOf(Shell("/usr/bin/fish",
                         {"--no-config", "-c",
                          "weightctl completion fish | source; complete -C \"$argv[1]\"", line}));
  }
  // The line that a TAB in an interactive zsh makes of `line`.
  CommandResult Zsh(const std::string& line) const {
    return Shell("/usr/bin/zsh", {"-f", "-c", R"script(
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=; autoload -Uz compinit; compinit -u -D; eval "$(weightctl completion zsh)"'
zpty -w shell 'show() { print -r -- "<<"$BUFFER">>" }; zle -N show; bindkey "^X" show; echo re""ady'
zpty -r -m shell ready '*ready*'
zpty -w -n shell "$1"$'\t\x18'
zpty -r -m shell shown '*<<*>>*'
print -r -- "${${shown##*<<}%%>>*}"
)script",
                                  "test", line});
  }
  // The tests of a shell that is not there skip themselves.
  static bool Has(const std::string& shell) { return std::filesystem::exists(shell); }
};

TEST_F(CompletionTest, Bash) {
  if (!Has("/bin/bash")) GTEST_SKIP() << "skipped: no bash here";
  MakeModel("llama", 1 << 20);
  Start();
  EXPECT_THAT(Bash({"weightctl", "st"}), ElementsAre("stage", "status", "stages"));
  EXPECT_THAT(Bash({"weightctl", "stage", "ll"}), ElementsAre("llama"));
  EXPECT_THAT(Bash({"weightctl", "evict", ""}), IsEmpty()) << "nothing is resident";
  Stage("llama");
  EXPECT_THAT(Bash({"weightctl", "evict", ""}), ElementsAre("llama"));
  EXPECT_THAT(Bash({"weightctl", "stage", "llama", "--device", ""}), ElementsAre("host"));
  EXPECT_THAT(Bash({"weightctl", "ls", "--output", "=", "j"}), ElementsAre("json"));
  EXPECT_THAT(Bash({"weightctl", "health", "--st"}), ElementsAre("--staged"));
  EXPECT_THAT(Bash({"weightctl", "digest", InRoot("lla")}),
              ElementsAre(InRoot("llama.safetensors")));
  StopCleanly();
  EXPECT_THAT(Bash({"weightctl", "stage", ""}), IsEmpty()) << "silent without a daemon";
}

TEST_F(CompletionTest, Fish) {
  if (!Has("/usr/bin/fish")) GTEST_SKIP() << "skipped: no fish here";
  MakeModel("llama", 1 << 20);
  Start();
  EXPECT_THAT(Fish("weightctl st"), ::testing::UnorderedElementsAre("stage", "status", "stages"));
  EXPECT_THAT(Fish("weightctl stage "), ElementsAre("llama"));
  EXPECT_THAT(Fish("weightctl stage --device "), ElementsAre("host"));
  EXPECT_THAT(Fish("weightctl ls --output=j"), ElementsAre("--output=json"));
  EXPECT_THAT(Fish("weightctl health --"), AllOf(Contains("--staged"), Not(Contains("--pin"))));
  EXPECT_THAT(Fish("weightctl digest " + InRoot("lla")), ElementsAre(InRoot("llama.safetensors")));
}

TEST_F(CompletionTest, Zsh) {
  if (!Has("/usr/bin/zsh")) GTEST_SKIP() << "skipped: no zsh here";
  MakeModel("llama", 1 << 20);
  Start();
  EXPECT_EQ(Zsh("weightctl desc").out, "weightctl describe \n");
  EXPECT_EQ(Zsh("weightctl stage ll").out, "weightctl stage llama \n");
  EXPECT_EQ(Zsh("weightctl ls --output j").out, "weightctl ls --output json \n");
}

}  // namespace
}  // namespace weightd::testing
