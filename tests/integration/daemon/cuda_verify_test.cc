// Memory that changes under the daemon, and what becomes of it: on the fake driver, whose device
// memory a test can reach. (Host memory is sealed: nobody can change it.)

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/cuda_fixture.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kModelBytes = 4 << 20;

class CudaVerifyTest : public CudaTest {
 protected:
  void SetUp() override {
    if (on_real_gpu()) GTEST_SKIP() << "reaches into the fake driver's memory";
  }
  // Flips a bit in the middle of each allocation of the daemon's GPUs.
  void Damage() const {
    int damaged = 0;
    for (const auto& entry :
         fs::directory_iterator(absl::StrCat("/proc/", daemon_->pid(), "/fd"))) {
      std::error_code gone;
      const fs::path target = fs::read_symlink(entry.path(), gone);
      if (gone || !absl::StartsWith(target.string(), "/memfd:fake-cuda")) continue;
      const UniqueFd memory(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
      char byte = 0;
      if (!memory.valid() || ::pread(memory.get(), &byte, 1, kModelBytes / 2) != 1) continue;
      byte ^= 1;
      if (::pwrite(memory.get(), &byte, 1, kModelBytes / 2) == 1) ++damaged;
    }
    EXPECT_GT(damaged, 0);
  }
};

TEST_F(CudaVerifyTest, GoodMemoryIsGoodOnGpuAndHost) {
  MakeModel("m", kModelBytes);
  StartCuda();
  Stage("m");
  EXPECT_EQ(ctl_.Run({"stage", "m", "--wait", "--device", "host"}).exit_code, kExitOk);
  const CommandResult verified = ctl_.Run({"verify", "m"});
  EXPECT_EQ(verified.exit_code, kExitOk) << verified;
  EXPECT_THAT(verified.out, AllOf(HasSubstr("m on host, generation"), HasSubstr("m on " + gpu_),
                                  HasSubstr("good: 8 tensors")));
  const nlohmann::json copies = ctl_.Json({"verify", "m", "--device", gpu_})["copies"];
  ASSERT_EQ(copies.size(), 1);
  EXPECT_EQ(copies[0]["bytes"], kModelBytes);
  EXPECT_EQ(EventsUntil("VERIFIED").back()["model"], "m");
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaVerifyTest, DamagedMemoryIsFoundAndReplaced) {
  const std::string path = MakeModel("m", kModelBytes);
  Start({"--cuda.enabled", "ON", "--metrics.address", "127.0.0.1:0"});
  Stage("m");
  const auto holder = Attach("m", {path});
  Damage();
  EXPECT_THAT(holder->Compare(), Not(StartsWith("same ")));
  const CommandResult verified = ctl_.Run({"verify", "m"});
  EXPECT_EQ(verified.exit_code, kExitIntegrity) << verified;
  EXPECT_THAT(verified.out, HasSubstr("damaged: 1 of 8 tensors differ"));
  EXPECT_THAT(verified.err, HasSubstr("--restage"));
  EXPECT_TRUE(holder->WaitForNotice("notice damaged")) << holder->output();
  const nlohmann::json event = EventsUntil("DAMAGED").back();
  EXPECT_EQ(event["reason"], "INTEGRITY_FAILED");
  EXPECT_EQ(event["device"], gpu_);
  EXPECT_EQ(MetricOf(absl::StrCat("weightd_verify_failures_total{device=\"", gpu_, "\"}")), 1);
  // Nobody gets it any more.
  AttachProbe refused(Probe("m", {path}));
  EXPECT_THAT(refused.Attached(), AllOf(StartsWith("refused FAILED_PRECONDITION/INTEGRITY_FAILED"),
                                        HasSubstr("stage it again with --restage")));
  EXPECT_TRUE(Generations("m")[0]["damaged"]);
  EXPECT_THAT(ctl_.Run({"ps"}).out, HasSubstr("damaged"));

  const CommandResult restaged = ctl_.Run({"stage", "m", "--wait", "--restage"});
  EXPECT_EQ(restaged.exit_code, kExitOk) << restaged;
  ExpectSameAsFiles("m", {path});
  EXPECT_EQ(ctl_.Run({"verify", "m"}).exit_code, kExitOk);
  EXPECT_EQ(holder->Leave(), std::optional(0)) << holder->output();
  EXPECT_TRUE(WaitUntil([&] { return Generations("m").size() == 1; }));
  StopCleanly();
  ExpectNoReport();
}

// A stage without --restage finds no copy that will do either; and nothing is made from a damaged
// one.
TEST_F(CudaVerifyTest, DamagedCopyIsNeitherAnAnswerNorASource) {
  const std::string path = MakeModel("m", kModelBytes);
  StartCuda();
  Stage("m");
  Damage();
  EXPECT_EQ(ctl_.Run({"verify", "m"}).exit_code, kExitIntegrity);
  Stage("m");
  EXPECT_EQ(ctl_.Json({"stages"})["reports"][0]["source"], "volume");
  ExpectSameAsFiles("m", {path});
  EXPECT_EQ(UsedBytes(gpu_), kModelBytes) << "the damaged copy is gone";
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaVerifyTest, EvictionDoesNotKeepWhatIsDamaged) {
  MakeModel("m", kModelBytes);
  StartCuda();
  Stage("m");
  Damage();
  EXPECT_EQ(ctl_.Run({"verify", "m"}).exit_code, kExitIntegrity);
  EXPECT_EQ(ctl_.Run({"evict", "m", "--device", gpu_}).exit_code, kExitOk);
  EXPECT_EQ(UsedBytes("host"), 0);
  EXPECT_EQ(UsedBytes(gpu_), 0);
}

TEST_F(CudaVerifyTest, ScrubFindsIt) {
  MakeModel("m", kModelBytes);
  Start({"--cuda.enabled", "ON", "--scrub.interval-ms", "1000", "--scrub.bytes-per-second",
         absl::StrCat(64 << 20)});
  Stage("m");
  EXPECT_EQ(EventsUntil("VERIFIED").back()["model"], "m");
  Damage();
  EXPECT_EQ(EventsUntil("DAMAGED").back()["model"], "m");
  StopCleanly();
}

TEST_F(CudaVerifyTest, WithoutDigestsThereIsNothingToCompare) {
  MakeModel("m", kModelBytes);
  StartCuda();
  EXPECT_EQ(ctl_.Run({"stage", "m", "--wait", "--verify", "none"}).exit_code, kExitOk);
  const CommandResult verified = ctl_.Run({"verify", "m"});
  EXPECT_NE(verified.exit_code, kExitOk);
  EXPECT_THAT(verified.err, HasSubstr("staged with verify NONE"));
  EXPECT_EQ(ctl_.Run({"verify", "absent"}).exit_code, kExitNotFound);
}

}  // namespace
}  // namespace weightd::testing
