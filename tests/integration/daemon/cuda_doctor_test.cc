// `weightctl doctor` where there are GPUs.

#include <unistd.h>

#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "tests/integration/daemon/cuda_fixture.h"
#include "tests/support/process/programs.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CudaDoctorTest : public CudaTest {
 protected:
  nlohmann::json Check(const std::string& name) const {
    const nlohmann::json answer = ctl_.Json({"doctor", "--no-reads"});
    for (const nlohmann::json& check : answer["checks"]) {
      if (check["check"] == name) return check;
    }
    return nullptr;
  }
};

TEST_F(CudaDoctorTest, NamesTheDriverAndWhatEachGpuShares) {
  MakeModel("model", 1 << 20);
  StartCuda();
  const nlohmann::json driver = Check("driver");
  EXPECT_EQ(driver["result"], "pass");
  EXPECT_THAT(std::string(driver["found"]), StartsWith("CUDA "));
  const nlohmann::json gpu = Check("GPU " + gpu_);
  EXPECT_EQ(gpu["result"], "pass");
  EXPECT_THAT(std::string(gpu["found"]),
              AllOf(HasSubstr("shares by CUDA_IPC"), HasSubstr("of the driver: CUDA_IPC")));
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaDoctorTest, AnotherPidNamespaceIsAWarningWithAFix) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: it takes root to make a PID namespace";
  StartCuda();
  ChildOptions options;
  options.argv = {"/usr/bin/unshare", "--pid",     "--fork", "--mount-proc", WeightctlProgram(),
                  "--socket-dir",     socket_dir_, "doctor", "--no-reads"};
  ChildProcess child(options);
  child.CloseInput();
  EXPECT_EQ(child.WaitForExit(), std::optional(kExitOk)) << child.err();
  EXPECT_THAT(child.out(), AllOf(HasSubstr("warn  PID namespace"),
                                 HasSubstr("CUDA IPC handles do not open here"),
                                 HasSubstr("shareProcessNamespace: true")));
}

// A container beside the daemon's, whose user may attach and no more.
TEST_F(CudaDoctorTest, WhoMayOnlyAttachIsToldOfGpusAndOfHisPidNamespace) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: it takes root to be somebody else";
  StartForNobody({"--cuda.enabled", "ON"});
  const CommandResult result =
      ctl_.RunAs(kNobody, kNogroup, {"doctor"}, /*new_pid_namespace=*/true);
  EXPECT_EQ(result.exit_code, kExitOk) << result;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("pass  driver"), HasSubstr("handles of the driver: CUDA_IPC"),
                    HasSubstr("warn  PID namespace"), HasSubstr("skip  reading speed")));
}

TEST_F(CudaDoctorTest, GpusThatAreLeftAloneAreNotLookedAt) {
  Start({"--cuda.enabled", "OFF"});
  const nlohmann::json driver = Check("driver");
  EXPECT_EQ(driver["result"], "skip");
  EXPECT_EQ(driver["found"], "cuda.enabled is OFF");
}

}  // namespace
}  // namespace weightd::testing
