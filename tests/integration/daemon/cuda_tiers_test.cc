// Three tiers with the fake driver: volume, host, GPUs.

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/cuda_fixture.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kModelBytes = 4 << 20;
// Room for one model, with what its allocation is rounded up to.
constexpr uint64_t kOneModelBytes = 7 << 20;

class CudaTiersTest : public CudaTest {
 protected:
  DaemonProcess* StartWithGpus(int count, std::vector<std::string> flags = {},
                               const std::vector<std::string>& environment = {}) {
    flags.insert(flags.end(), {"--cuda.enabled", "ON"});
    environment_.push_back(absl::StrCat("WEIGHTD_FAKE_CUDA_DEVICES=", count));
    return Start(std::move(flags), environment);
  }
  void StageOn(const std::string& model, const std::vector<std::string>& devices,
               const std::vector<std::string>& flags = {}) {
    std::vector<std::string> command = {"stage", model, "--wait"};
    for (const std::string& device : devices) command.insert(command.end(), {"--device", device});
    command.insert(command.end(), flags.begin(), flags.end());
    const CommandResult staged = ctl_.Run(command);
    EXPECT_EQ(staged.exit_code, kExitOk) << staged;
  }
  // "device" or "device host copy" of each resident copy.
  std::vector<std::string> CopiesOf(const std::string& model) const {
    std::vector<std::string> copies;
    for (const nlohmann::json& copy : Generations(model)) {
      if (copy["state"] != "RESIDENT") continue;
      copies.push_back(copy["device"].get<std::string>() +
                       (copy.value("host_copy", false) ? " host copy" : ""));
    }
    return copies;
  }
  // The last stage.
  nlohmann::json Report() const { return ctl_.Json({"stages"})["reports"][0]; }
  std::string PathOf(const std::string& model) const { return InRoot(model + ".safetensors"); }

  const std::string gpu1_{kSecondFakeGpu};
};

TEST_F(CudaTiersTest, OneStageToAllReadsTheVolumeOnce) {
  if (on_real_gpu()) GTEST_SKIP() << "needs two GPUs";
  const std::string path = MakeModel("model", kModelBytes);
  StartWithGpus(2);
  StageOn("model", {gpu_, gpu1_, "host"});
  EXPECT_EQ(Report()["source"], "volume");
  EXPECT_EQ(Report()["bytes_read"], kModelBytes);
  EXPECT_THAT(CopiesOf("model"), UnorderedElementsAre(gpu_, gpu1_, "host"));
  for (const std::string& device : {gpu_, gpu1_, std::string("host")}) {
    ExpectSameAsFiles("model", {path}, device);
  }
  StopCleanly();
  ExpectNoReport();
}

// The file is gone: what another GPU gets can only come from memory.
TEST_F(CudaTiersTest, AttachOnAnotherGpuIsMadeFromWhatIsResident) {
  if (on_real_gpu()) GTEST_SKIP() << "needs two GPUs";
  const std::string path = MakeModel("model", kModelBytes);
  StartWithGpus(2);
  StageOn("model", {gpu_});
  const std::string kept = dir_.File("kept.safetensors");
  fs::rename(path, kept);
  ExpectSameAsFiles("model", {kept}, gpu1_);
  EXPECT_EQ(Report()["source"], gpu_);
  EXPECT_THAT(CopiesOf("model"), UnorderedElementsAre(gpu_, gpu1_));
  StopCleanly();
  ExpectNoReport();
}

// With pinned host memory, as it is by default, and through staging buffers where the GPU cannot
// have it.
class PromotionTest : public CudaTiersTest, public ::testing::WithParamInterface<bool> {};

TEST_P(PromotionTest, EvictedModelIsKeptInTheHostTierAndComesBackFromThere) {
  const bool pinned = GetParam();
  if (!pinned && on_real_gpu()) GTEST_SKIP() << "steers the fake driver";
  const std::string path = MakeModel("model", kModelBytes);
  StartWithGpus(1, {"--metrics.address", "127.0.0.1:0"},
                {pinned ? "UNUSED=1" : "WEIGHTD_FAKE_CUDA_NO_READ_ONLY=0"});
  StageOn("model", {gpu_});
  EXPECT_EQ(ctl_.Run({"evict", "model", "--device", gpu_}).exit_code, kExitOk);
  EXPECT_THAT(CopiesOf("model"), ElementsAre("host host copy"));
  EXPECT_EQ(UsedBytes(gpu_), 0);
  EXPECT_EQ(EventsUntil("EVICTED").back()["device"], gpu_);
  EXPECT_EQ(
      MetricOf(absl::StrCat("weightd_evictions_total{device=\"", gpu_, "\",reason=\"OPERATOR\"}")),
      1);
  EXPECT_EQ(MetricOf(absl::StrCat("weightd_demotions_total{device=\"", gpu_, "\"}")), 1);

  const std::string kept = dir_.File("kept.safetensors");
  fs::rename(path, kept);
  ExpectSameAsFiles("model", {kept}, gpu_);
  EXPECT_EQ(Report()["source"], "host");
  EXPECT_EQ(Report()["bytes_read"], 0);
  EXPECT_THAT(CopiesOf("model"), UnorderedElementsAre(gpu_, "host host copy"));
  StopCleanly();
  ExpectNoReport();
}

TEST_P(PromotionTest, StageToTheHostSaysWhetherItIsPinned) {
  const bool pinned = GetParam();
  if (!pinned && on_real_gpu()) GTEST_SKIP() << "steers the fake driver";
  MakeModel("model", kModelBytes);
  StartWithGpus(1, {}, {pinned ? "UNUSED=1" : "WEIGHTD_FAKE_CUDA_NO_READ_ONLY=0"});
  StageOn("model", {"host"});
  const std::string fallbacks = Report()["fallbacks"].dump();
  if (pinned) {
    EXPECT_EQ(fallbacks.find("pinned"), std::string::npos) << fallbacks;
  } else {
    EXPECT_THAT(fallbacks, HasSubstr("not pinned, copies to GPUs go through staging buffers"));
  }
  StopCleanly();
  ExpectNoReport();
}

INSTANTIATE_TEST_SUITE_P(Host, PromotionTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "Pinned" : "NotPinned"; });

TEST_F(CudaTiersTest, BudgetOfOneModelSwapsTwoThroughTheHostTier) {
  const std::vector<std::string> paths = {MakeModel("a", kModelBytes, 1),
                                          MakeModel("b", kModelBytes, 2)};
  StartWithGpus(1, {"--cuda.budget-bytes", absl::StrCat(kOneModelBytes)});
  StageOn("a", {gpu_});
  StageOn("b", {gpu_});
  EXPECT_THAT(CopiesOf("a"), ElementsAre("host host copy"));
  for (int round = 0; round < 3; ++round) {
    ExpectSameAsFiles("a", {paths[0]}, gpu_);
    EXPECT_EQ(Report()["source"], "host");
    EXPECT_TRUE(WaitUntil([&] { return LeaseCount() == 0; }));
    ExpectSameAsFiles("b", {paths[1]}, gpu_);
    EXPECT_EQ(Report()["source"], "host");
    EXPECT_TRUE(WaitUntil([&] { return LeaseCount() == 0; }));
    EXPECT_LE(UsedBytes(gpu_), kOneModelBytes);
  }
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaTiersTest, WithoutDemotionWhatIsEvictedIsGone) {
  MakeModel("model", kModelBytes);
  StartWithGpus(1, {"--host.demote", "false"});
  StageOn("model", {gpu_});
  EXPECT_EQ(ctl_.Run({"evict", "model", "--device", gpu_}).exit_code, kExitOk);
  EXPECT_THAT(CopiesOf("model"), IsEmpty());
  EXPECT_EQ(UsedBytes("host"), 0);
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaTiersTest, HostCopyIsMadeInTheSameStage) {
  MakeModel("model", kModelBytes);
  StartWithGpus(1);
  StageOn("model", {gpu_}, {"--host-copy"});
  EXPECT_EQ(Report()["bytes_read"], kModelBytes);
  EXPECT_THAT(CopiesOf("model"), UnorderedElementsAre(gpu_, "host host copy"));
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaTiersTest, FailedPromotionLeavesTheHostCopyAsItWas) {
  if (on_real_gpu()) GTEST_SKIP() << "steers the fake driver";
  const std::string path = MakeModel("model", kModelBytes);
  StartWithGpus(1, {}, {"WEIGHTD_FAKE_CUDA_FAIL=cuMemAlloc:1:CUDA_ERROR_OUT_OF_MEMORY"});
  StageOn("model", {"host"});
  AttachProbe refused(Probe("model", {path}, gpu_));
  EXPECT_THAT(refused.Attached(), HasSubstr("CUDA_ERROR_OUT_OF_MEMORY"));
  EXPECT_THAT(CopiesOf("model"), Contains("host"));
  ExpectSameAsFiles("model", {path}, gpu_);
  StopCleanly();
  ExpectNoReport();
}

}  // namespace
}  // namespace weightd::testing
