#include "client/cli/complete.h"

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/cli/completion_scripts.h"
#include "gmock/gmock.h"
#include "tests/unit/cli/verbs_fixture.h"

// What the shells ask, against the double of the service. That the shells themselves show it is
// tests/integration/daemon/completion_test.cc.

namespace weightd::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class CompleteTest : public VerbsTest {
 protected:
  CompleteTest() {
    service_.list_models = [](const v1::ListModelsRequest& request,
                              v1::ListModelsResponse* answer) {
      *answer->add_models() = SmallModel();
      if (!request.resident_only()) answer->add_models()->set_name("org/mistral");
      return grpc::Status::OK;
    };
    service_.get_status = [](const v1::GetStatusRequest&, v1::GetStatusResponse* answer) {
      answer->add_devices()->set_id("host");
      answer->add_devices()->set_id("GPU-1");
      return grpc::Status::OK;
    };
    service_.get_model = [](const v1::GetModelRequest& request, v1::GetModelResponse* answer) {
      answer->add_tensors()->set_name(request.model() + ".weight");
      return grpc::Status::OK;
    };
  }

  // The words proposed for the last of `words`, without their descriptions.
  std::vector<std::string> Proposed(std::vector<const char*> words) const {
    words.insert(words.begin(),
                 {"weightctl", "__complete", "--", "--socket-dir", dir_.path().c_str()});
    const Outcome outcome = RunAll(words);
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.err, "");
    std::vector<std::string> proposed;
    for (const absl::string_view line : absl::StrSplit(outcome.out, '\n', absl::SkipEmpty())) {
      proposed.emplace_back(line.substr(0, line.find('\t')));
    }
    return proposed;
  }
};

TEST_F(CompleteTest, VerbsByTheirBeginning) {
  EXPECT_THAT(Proposed({"st"}), ElementsAre("stage", "status", "stages"));
  EXPECT_THAT(Proposed({""}), AllOf(Contains("ls"), Contains("doctor"), Contains("top")));
  EXPECT_THAT(Proposed({"stage", "--wait", ""}), Not(Contains("ls")));
}

TEST_F(CompleteTest, ModelsOfTheVolumeOrThoseInMemory) {
  EXPECT_THAT(Proposed({"stage", ""}), ElementsAre("org/llama", "org/mistral"));
  EXPECT_THAT(Proposed({"stage", "org/m"}), ElementsAre("org/mistral"));
  EXPECT_THAT(Proposed({"evict", "--force", ""}), ElementsAre("org/llama"));
  EXPECT_THAT(Proposed({"stage", "org/llama", ""}), IsEmpty()) << "it takes one";
  EXPECT_THAT(Proposed({"read", "m", ""}), ElementsAre("m.weight"));
}

TEST_F(CompleteTest, OptionsOfTheVerbAndThoseOfEvery) {
  EXPECT_THAT(Proposed({"stage", "--"}),
              AllOf(Contains("--wait"), Contains("--output"), Contains("--help")));
  EXPECT_THAT(Proposed({"ls", "--"}), Not(Contains("--pin")));
  EXPECT_THAT(Proposed({"stage", "--", "--"}), IsEmpty()) << "no options after --";
}

TEST_F(CompleteTest, ValuesOfOptions) {
  EXPECT_THAT(Proposed({"-o", ""}), ElementsAre("table", "json"));
  EXPECT_THAT(Proposed({"ls", "--output", "j"}), ElementsAre("json"));
  EXPECT_THAT(Proposed({"ls", "--output=j"}), ElementsAre("--output=json"));
  // bash takes that for three words.
  EXPECT_THAT(Proposed({"ls", "--output", "=", "j"}), ElementsAre("json"));
  EXPECT_THAT(Proposed({"ls", "--output", "="}), ElementsAre("table", "json"));
  EXPECT_THAT(Proposed({"stage", "--device", ""}), ElementsAre("host", "GPU-1"));
  EXPECT_THAT(Proposed({"stage", "--device", "host", "--device", "G"}), ElementsAre("GPU-1"));
  EXPECT_THAT(Proposed({"stage", "--verify", ""}), ElementsAre("none", "fast", "full"));
  EXPECT_THAT(Proposed({"--timeout", ""}), IsEmpty());
}

TEST_F(CompleteTest, FilesAreTheShellsOwn) {
  EXPECT_THAT(Proposed({"tensorize", ""}), ElementsAre(":files"));
  EXPECT_THAT(Proposed({"--socket-dir", ""}), ElementsAre(":directories"));
}

TEST_F(CompleteTest, IsSilentWithoutADaemonAndForWhatIsNoVerb) {
  EXPECT_THAT(Proposed({"frobnicate", ""}), IsEmpty());
  service_.Kill();
  EXPECT_THAT(Proposed({"stage", ""}), IsEmpty());
  EXPECT_THAT(Proposed({"sta"}), ElementsAre("stage", "status", "stages"));
}

TEST_F(CompleteTest, NamesCannotCommandTheTerminal) {
  EXPECT_EQ(CompletionText({.candidates = {{"a\nb", "c\x1b[2J"}}}), "a\\x0ab\tc\\x1b[2J\n");
}

TEST_F(CompleteTest, EachShellHasItsScript) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_EQ(Run({"completion", shell}).out, std::string(CompletionScript(shell)));
  }
  EXPECT_EQ(Run({"completion", "tcsh"}).code, 2);
}

}  // namespace
}  // namespace weightd::cli
