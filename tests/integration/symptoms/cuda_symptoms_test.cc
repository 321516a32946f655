// The rows of the symptoms table that need a GPU, on the fake driver.

#include <unistd.h>

#include <string>

#include "tests/integration/daemon/cuda_fixture.h"
#include "tests/integration/symptoms/symptom_table.h"

namespace weightd::testing {
namespace {

class CudaSymptomsTest : public CudaTest {
 protected:
  void SetUp() override {
    if (on_real_gpu()) GTEST_SKIP() << "steers the fake driver";
  }
};

WEIGHTD_SYMPTOM(CudaSymptomsTest, OtherPidNamespace, "gpu-other-pid-namespace") {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make a PID namespace";
  MakeModel("model", 1 << 20);
  StartCuda();
  Stage("model");
  ProbeOptions options = Probe("model", {});
  options.new_pid_namespace = true;
  AttachProbe probe(options);
  EXPECT_TRUE(ShowsSymptom("gpu-other-pid-namespace", probe.Attached()));
}

WEIGHTD_SYMPTOM(CudaSymptomsTest, DriverFails, "gpu-driver-fails") {
  MakeModel("model", 1 << 20);
  StartCuda({"WEIGHTD_FAKE_CUDA_FAIL=cuMemAlloc:1:CUDA_ERROR_OUT_OF_MEMORY"});
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_TRUE(ShowsSymptom("gpu-driver-fails", staged.err));
}

WEIGHTD_SYMPTOM(CudaSymptomsTest, NoSuchDevice, "gpu-not-here") {
  MakeModel("model", 1 << 20);
  StartCuda();
  const CommandResult staged = ctl_.Run({"stage", "model", "--device", "GPU-none", "--wait"});
  EXPECT_TRUE(ShowsSymptom("gpu-not-here", staged.err));
}

}  // namespace
}  // namespace weightd::testing
