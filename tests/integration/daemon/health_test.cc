// Startup probes: `weightctl health` and `weightctl health --staged`.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class HealthTest : public DaemonTest {
 protected:
  nlohmann::json Preload(const std::string& model) const {
    const nlohmann::json status = ctl_.Json({"status"});
    for (const nlohmann::json& preload : status["preloads"]) {
      if (preload["model"] == model) return preload;
    }
    return nullptr;
  }
};

TEST_F(HealthTest, StagedWaitsForWhatIsBeingReadAndTellsHowFarItIs) {
  MakeModel("first", 1 << 20, 1);
  MakeModel("second", 64 << 20, 2);
  const HeldRead held(dir_, "second.safetensors", 32 << 20);
  std::vector<std::string> flags = {"--preload", "first", "--preload", "second"};
  flags.insert(flags.end(), kPread.begin(), kPread.end());
  Start(flags, held.environment());
  ASSERT_TRUE(held.WaitUntilReached());
  EXPECT_EQ(ctl_.Run({"health"}).exit_code, kExitOk) << "it serves all the same";
  const CommandResult missing = ctl_.Run({"health", "--staged"});
  EXPECT_EQ(missing.exit_code, kExitNotReady);
  EXPECT_THAT(missing.out, HasSubstr("WAITING for second: staging"));
  EXPECT_THAT(missing.err, HasSubstr("second: staging"));
  EXPECT_EQ(ctl_.Run({"health", "--staged", "--wait", "300ms"}).exit_code, kExitNotReady);
  const std::unique_ptr<ChildProcess> waiting = ctl_.Start({"health", "--staged", "--wait", "60s"});
  held.Release();
  EXPECT_EQ(waiting->WaitForExit(), std::optional(kExitOk)) << waiting->err();
  EXPECT_EQ(ctl_.Run({"health", "--staged"}).exit_code, kExitOk);
}

TEST_F(HealthTest, AFailedPreloadSaysWhyAndIsGoodOnceItIsStaged) {
  Start({"--preload", "model"});
  EXPECT_TRUE(daemon_->WaitForLog("no such checkpoint"));
  const CommandResult failed = ctl_.Run({"health", "--staged"});
  EXPECT_EQ(failed.exit_code, kExitNotReady);
  EXPECT_THAT(failed.err, AllOf(HasSubstr("1 of 1 preloaded model is not resident: model: failed"),
                                HasSubstr("no such checkpoint")));
  EXPECT_EQ(Preload("model")["reason"], "MODEL_NOT_FOUND");
  MakeModel("model", 1 << 20);
  Stage("model");
  EXPECT_EQ(ctl_.Run({"health", "--staged"}).exit_code, kExitOk);
  EXPECT_EQ(Preload("model")["error"], "");
  EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitOk);
  const CommandResult evicted = ctl_.Run({"health", "--staged"});
  EXPECT_EQ(evicted.exit_code, kExitNotReady);
  EXPECT_THAT(evicted.err, HasSubstr("model: not in memory, and not being staged"));
}

// The list of the last reports is shorter than what an operator may stage meanwhile.
TEST_F(HealthTest, TheFailureIsRememberedAfterOtherStages) {
  Start({"--preload", "broken"});
  EXPECT_TRUE(daemon_->WaitForLog("no such checkpoint"));
  for (int i = 0; i < 33; ++i) {
    EXPECT_EQ(ctl_.Run({"stage", "other", "--wait"}).exit_code, kExitNotFound);
  }
  EXPECT_EQ(Preload("broken")["state"], "PRELOAD_FAILED");
}

TEST_F(HealthTest, WaitsForADaemonThatIsNotThereYet) {
  const std::unique_ptr<ChildProcess> waiting = ctl_.Start({"health", "--wait", "60s"});
  Start();
  EXPECT_EQ(waiting->WaitForExit(), std::optional(kExitOk)) << waiting->err();
  EXPECT_EQ(waiting->out(), "SERVING\n");
}

}  // namespace
}  // namespace weightd::testing
