// A volume that hangs, and a user who tries one model of it after the other: what its reads keep
// has an end, and others keep what they have.

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/wait_until.h"
#include "tests/support/storage/fuse_volume.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kModelBytes = 12 << 20;
constexpr uint64_t kBudgetBytes = 64 << 20;
constexpr uint64_t kBlockBytes = 8 << 20;

class StuckShareTest : public DaemonTest {
 protected:
  void SetUp() override {
    std::map<std::string, std::string> files;
    for (const char* model : {"h0", "h1", "h2"}) AddFile(model, kModelBytes, files);
    AddFile("big", kBudgetBytes / 2 - kModelBytes / 4, files);
    auto volume = FuseVolume::Mount(std::move(files));
    if (!volume.ok()) GTEST_SKIP() << volume.status();
    volume_ = *std::move(volume);
    MakeModel("good", 1 << 20);
    MakeModel("later", 1 << 20);
  }
  void TearDown() override {
    if (volume_ != nullptr) volume_->Answer();
    daemon_.reset();  // it has files open
  }

  static void AddFile(const std::string& model, uint64_t bytes,
                      std::map<std::string, std::string>& files) {
    const std::vector<TensorSpec> specs = {{.name = "w", .dtype = Dtype::kU8, .shape = {bytes}}};
    files[model + ".safetensors"] =
        SafetensorsPrefix(SafetensorsHeaderText(specs, {})) + std::string(bytes, 'w');
  }
  uint64_t StuckBytes() const { return DeviceStatus().value("stuck_bytes", uint64_t{0}); }

  std::unique_ptr<FuseVolume> volume_;
};

// Of each stage what its reads may still write to, and of its blocks few are read at once.
TEST_F(StuckShareTest, IsTheBlocksThatAreRead) {
  Start({"--root", volume_->root(), "--host.budget-bytes", absl::StrCat(kBudgetBytes),
         "--storage.stall-timeout-ms", "600000"});
  Stage("good");
  volume_->HangReads(8 << 20);
  for (const char* model : {"h0", "h1", "h2"}) {
    const auto stage = ctl_.Start({"stage", model, "--wait"});
    ASSERT_TRUE(WaitUntil([&] { return volume_->held() > 0; }));
    stage->Signal(SIGINT);
    stage->WaitForExit();
    ASSERT_TRUE(WaitUntil([&] { return DeviceStatus().value("staging_bytes", uint64_t{0}) == 0; }));
    EXPECT_LE(StuckBytes(), kBlockBytes);
    EXPECT_LE(UsedBytes(), kBlockBytes + (4 << 20));
  }
  Stage("later");
  EXPECT_THAT(ctl_.Run({"ps"}).out, HasSubstr("good"));
  volume_->Answer();
  EXPECT_TRUE(WaitUntil([&] { return StuckBytes() == 0; }));
  StopCleanly();
}

TEST_F(StuckShareTest, IsHalfOfTheBudget) {
  Start({"--root", volume_->root(), "--host.budget-bytes", absl::StrCat(kBudgetBytes),
         "--storage.stall-timeout-ms", "1000"});
  Stage("good");
  volume_->HangReads(8 << 20);
  for (const char* model : {"h0", "h1"}) {
    const uint64_t stuck = StuckBytes();
    EXPECT_EQ(ctl_.Run({"stage", model, "--wait"}).exit_code, kExitNotReady);
    ASSERT_TRUE(WaitUntil([&] { return StuckBytes() > stuck; }));
  }
  const CommandResult big = ctl_.Run({"stage", "big", "--wait"});
  EXPECT_EQ(big.exit_code, kExitNotReady);
  EXPECT_THAT(big.err, HasSubstr("more than half of 67.1 MB"));
  Stage("later");
  EXPECT_THAT(ctl_.Run({"ps"}).out, HasSubstr("good"));
  volume_->Answer();
  EXPECT_TRUE(WaitUntil([&] { return UsedBytes() < kModelBytes; }));
  StopCleanly();
}

}  // namespace
}  // namespace weightd::testing
