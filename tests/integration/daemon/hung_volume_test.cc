// A volume whose reads are not answered, and a daemon with others: a FUSE mount below the root, of
// which the server is this test.

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/wait_until.h"
#include "tests/support/storage/faulty_disk.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kModelBytes = 24 << 20;

class HungVolumeTest : public DaemonTest {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(InRoot("mount"));
    const std::vector<TensorSpec> specs = {
        {.name = "w", .dtype = Dtype::kU8, .shape = {kModelBytes}}};
    auto disk = FaultyDisk::Create(
        SafetensorsPrefix(SafetensorsHeaderText(specs, {})) + std::string(kModelBytes, 'w'),
        [](const FaultyDisk::Read& read) {
          return FaultyDisk::Answer{.hold = read.offset >= 4096 && read.bytes > 4096};
        },
        InRoot("mount"));
    if (!disk.ok()) GTEST_SKIP() << disk.status();
    disk_ = *std::move(disk);
    for (const char* model : {"h1", "h2", "h3"}) {
      std::filesystem::create_directory(InRoot(model));
      std::filesystem::create_symlink("../mount/file",
                                      InRoot(absl::StrCat(model, "/model.safetensors")));
    }
    MakeModel("good", 1 << 20);
  }
  void TearDown() override {
    if (disk_ != nullptr) disk_->Release();
    daemon_.reset();  // it has the file open
  }
  std::string Series(const char* name) const {
    return absl::StrCat(name, "{root=\"", root_, "\"}");
  }

  std::unique_ptr<FaultyDisk> disk_;
};

// It fails the stages that read it, which keep their bytes of the budget until it is back; workers,
// other models, evictions and status go on.
TEST_F(HungVolumeTest, FailsItsOwnStagesAndGivesBackWhatTheyKept) {
  Start({"--storage.stall-timeout-ms", "300", "--metrics.address", "127.0.0.1:0"});
  const auto first = ctl_.Start({"stage", "h1", "--wait"});
  const auto second = ctl_.Start({"stage", "h2", "--wait"});
  for (const auto& stage : {&first, &second}) {
    EXPECT_EQ((*stage)->WaitForExit(), std::optional(kExitNotReady)) << (*stage)->err();
    EXPECT_THAT((*stage)->err(), HasSubstr("model.safetensors at"));
  }
  Stage("good");
  EXPECT_EQ(ctl_.Run({"evict", "good"}).exit_code, kExitOk);
  // Who tries again and again takes no more of it.
  const uint64_t kept = UsedBytes();
  EXPECT_GE(kept, kModelBytes);
  EXPECT_THAT(ctl_.Run({"stage", "h3", "--wait"}).err, HasSubstr("is not read again"));
  EXPECT_EQ(UsedBytes(), kept);
  EXPECT_EQ(DeviceStatus()["stuck_bytes"], DeviceStatus()["used_bytes"]);
  EXPECT_THAT(ctl_.Run({"status"}).out,
              AllOf(HasSubstr("of h1, does not come back since"), HasSubstr("booked until then")));
  EXPECT_THAT(ctl_.Run({"ps"}).out, HasSubstr("failed, stuck"));
  const CommandResult doctor = ctl_.Run({"doctor", "--no-reads"});
  EXPECT_THAT(doctor.out, AllOf(HasSubstr("do not come back since"), HasSubstr("umount -f")));
  EXPECT_GE(MetricOf(Series("weightd_stuck_reads")), 1);
  EXPECT_GE(MetricOf(Series("weightd_stuck_bytes")), kModelBytes);

  disk_->Release();
  EXPECT_TRUE(WaitUntil([&] { return UsedBytes() == 0; }));
  EXPECT_TRUE(WaitUntil([&] { return MetricOf(Series("weightd_stuck_reads")) == 0; }));
  EXPECT_THAT(ctl_.Run({"status"}).out, Not(HasSubstr("not come back since")));
  Stage("h1");
  StopCleanly();
}

// Who cancels does not wait for the volume, nor does the worker that read it.
TEST_F(HungVolumeTest, StagesThatAreCancelledEndAtOnce) {
  Start({"--storage.stall-timeout-ms", "600000", "--staging.jobs-max", "1"});
  const auto stage = ctl_.Start({"stage", "h1", "--wait"});
  ASSERT_TRUE(WaitUntil([&] { return !disk_->reads().empty() && disk_->held() > 0; }));
  stage->Signal(SIGINT);
  stage->WaitForExit();
  Stage("good");
  EXPECT_GE(UsedBytes(), kModelBytes);
  disk_->Release();
  EXPECT_TRUE(WaitUntil([&] { return UsedBytes() < kModelBytes; }));
  StopCleanly();
}

TEST_F(HungVolumeTest, ReadEndsAtItsTimeout) {
  Start({"--storage.stall-timeout-ms", "600000"});
  const CommandResult read = ctl_.Run({"read", "h1", "w", "--wait", "--timeout", "500ms"});
  EXPECT_EQ(read.exit_code, kExitNotReady);
  EXPECT_THAT(read.err, HasSubstr("not done within 500ms (--timeout)"));
  disk_->Release();
  StopCleanly();
}

// Both places of staging.jobs_max hang for as long as the stall timeout: neither another volume's
// models wait for that, nor what is made from a resident copy.
TEST_F(HungVolumeTest, OtherVolumesHaveAPlaceWhileItsJobsHang) {
  Start({"--storage.stall-timeout-ms", "600000", "--staging.jobs-max", "2"});
  Stage("good");
  const auto first = ctl_.Start({"stage", "h1", "--wait"});
  const auto second = ctl_.Start({"stage", "h2", "--wait"});
  const auto third = ctl_.Start({"stage", "h3", "--wait"});
  ASSERT_TRUE(WaitUntil([&] { return disk_->held() >= 2; }));
  MakeModel("late", 1 << 20);
  Stage("late");
  EXPECT_EQ(ctl_.Run({"stage", "good", "--restage", "--wait"}).exit_code, kExitOk);
  for (const auto& stage : {&first, &second, &third}) {
    (*stage)->Signal(SIGINT);
    (*stage)->WaitForExit();
  }
  disk_->Release();
  EXPECT_TRUE(WaitUntil([&] { return UsedBytes() < kModelBytes; }));
  StopCleanly();
}

}  // namespace
}  // namespace weightd::testing
