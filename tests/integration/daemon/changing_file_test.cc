// Files that fail or change while they are read, and models that do not fit.

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using NumberPair = std::pair<const std::string, std::string>;

constexpr uint64_t kModelBytes = 24 << 20;
// In the second block of 8 MiB.
constexpr uint64_t kHeldOffset = 9'000'000;

class ChangingFileTest : public DaemonTest {
 protected:
  // Starts to stage `model`, changes something while a read of it is held, and goes on.
  CommandResult StageWhile(const std::function<void()>& change) {
    path_ = MakeModel("model", kModelBytes);
    good_ = MakeModel("good", 1 << 20);
    const HeldRead held(dir_, "/model.safetensors", kHeldOffset);
    Start(kPread, held.environment());
    const std::unique_ptr<ChildProcess> stage = ctl_.Start({"stage", "model", "--wait"});
    EXPECT_TRUE(held.WaitUntilReached());
    change();
    held.Release();
    const int code = stage->WaitForExit().value_or(-1);
    return {.exit_code = code, .out = stage->out(), .err = stage->err()};
  }
  void ExpectTheDaemonGoesOn() {
    EXPECT_EQ(UsedBytes(), 0);
    Stage("good");
    ExpectSameAsFiles("good", {good_});
    StopCleanly();
  }

  std::string path_;
  std::string good_;
};

TEST_F(ChangingFileTest, FileWhoseBytesChangeIsNotPublished) {
  const CommandResult staged = StageWhile([&] {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1'000'000);
    file.put('!');
  });
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err, AllOf(HasSubstr("model.safetensors changed"), HasSubstr("mtime_ns")));
  ExpectTheDaemonGoesOn();
}

TEST_F(ChangingFileTest, FileThatShrinksIsNotPublished) {
  const CommandResult staged =
      StageWhile([&] { std::filesystem::resize_file(path_, kHeldOffset - 100); });
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err,
              AllOf(HasSubstr("read model.safetensors at "), HasSubstr("file ends after")));
  ExpectTheDaemonGoesOn();
}

TEST_F(ChangingFileTest, FileThatIsReplacedIsNotPublished) {
  const CommandResult staged = StageWhile([&] {
    std::filesystem::copy_file(path_, path_ + ".new");
    std::filesystem::rename(path_ + ".new", path_);
  });
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err, AllOf(HasSubstr("model.safetensors changed"), HasSubstr("inode")));
  ExpectTheDaemonGoesOn();
}

TEST_F(ChangingFileTest, FileThatGoesAwayIsNotPublished) {
  const CommandResult staged = StageWhile([&] { std::filesystem::remove(path_); });
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err, HasSubstr("model.safetensors changed"));
  ExpectTheDaemonGoesOn();
}

// The job has nobody left: it must not go on for ever, nor keep its memory.
TEST_F(ChangingFileTest, KilledCallerCancelsItsJob) {
  MakeModel("model", kModelBytes);
  good_ = MakeModel("good", 1 << 20);
  const HeldRead held(dir_, "/model.safetensors", kHeldOffset);
  Start(kPread, held.environment());
  const std::unique_ptr<ChildProcess> stage = ctl_.Start({"stage", "model", "--wait"});
  EXPECT_TRUE(held.WaitUntilReached());
  EXPECT_GT(UsedBytes(), kModelBytes / 2);
  stage->Kill();
  held.Release();
  const std::vector<nlohmann::json> events = EventsUntil("STAGE_FAILED");
  EXPECT_EQ(events.back()["reason"], "CANCELLED");
  ExpectTheDaemonGoesOn();
}

TEST_F(ChangingFileTest, SecondCallerJoinsTheJobAndKeepsItAlive) {
  const std::string path = MakeModel("model", kModelBytes);
  const HeldRead held(dir_, "/model.safetensors", kHeldOffset);
  Start(kPread, held.environment());
  const std::unique_ptr<ChildProcess> first = ctl_.Start({"stage", "model", "--wait"});
  EXPECT_TRUE(held.WaitUntilReached());
  const std::unique_ptr<ChildProcess> second =
      ctl_.Start({"stage", "model", "--wait", "-o", "json"});
  EXPECT_TRUE(second->WaitForOutput("reading")) << second->err();
  EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitNotReady) << "it is being staged";
  first->Kill();
  held.Release();
  EXPECT_EQ(second->WaitForExit(), std::optional(kExitOk)) << second->err();
  EXPECT_THAT(second->out(), HasSubstr("\"joined\": true"));
  ExpectSameAsFiles("model", {path});
}

TEST_F(ChangingFileTest, DiskErrorInTheMiddleFailsTheJobAlone) {
  MakeModel("model", kModelBytes);
  good_ = MakeModel("good", 1 << 20);
  Start(kPread, FaultPreload({"WEIGHTD_FAULT_PATH=/model.safetensors",
                              absl::StrCat("WEIGHTD_FAULT_OFFSET=", kHeldOffset)}));
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitError) << staged;
  EXPECT_THAT(staged.err,
              AllOf(HasSubstr("model.safetensors at 8388608"), HasSubstr("Input/output error")));
  EXPECT_EQ(EventsUntil("STAGE_FAILED").back()["reason"], "READ_FAILED");
  ExpectTheDaemonGoesOn();
}

TEST_F(ChangingFileTest, ModelWithoutRoomIsRefusedWithTheNumbers) {
  MakeModel("model", kModelBytes);
  good_ = MakeModel("good", 1 << 20);
  Start({"--host.budget-bytes", absl::StrCat(8 << 20)});
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitError) << staged;
  EXPECT_THAT(staged.err,
              AllOf(HasSubstr("model does not fit on host"), HasSubstr("needs 2"),
                    HasSubstr("budget 8.4 MB"), HasSubstr("leased 0 B"), HasSubstr("hint: ")));
  // At the wire the numbers are numbers.
  const absl::Status status = testing::Stage(Connect(socket_dir_), "model");
  EXPECT_THAT(status, ReasonIs(Reason::kBudgetExceeded, HasSubstr("does not fit")));
  const std::map<std::string, std::string> numbers = GetReasonMetadata(status);
  EXPECT_THAT(numbers, IsSupersetOf<NumberPair>({{"budgetBytes", "8388608"},
                                                 {"leasedBytes", "0"},
                                                 {"pinnedBytes", "0"},
                                                 {"stagingBytes", "0"}}));
  uint64_t needed = 0;
  EXPECT_TRUE(absl::SimpleAtoi(numbers.at("neededBytes"), &needed));
  EXPECT_GE(needed, kModelBytes);
  ExpectTheDaemonGoesOn();
}

}  // namespace
}  // namespace weightd::testing
