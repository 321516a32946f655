#ifndef WEIGHTD_TESTS_INTEGRATION_DAEMON_CUDA_FIXTURE_H_
#define WEIGHTD_TESTS_INTEGRATION_DAEMON_CUDA_FIXTURE_H_

#include <filesystem>
#include <string>
#include <vector>

#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/process/programs.h"

namespace weightd::testing {

// A daemon and clients on the fake driver, with a node of their own; or on the real GPU that
// WEIGHTD_TEST_GPU names, by whatever tests do not steer the fake.
class CudaTest : public DaemonTest {
 protected:
  CudaTest() {
    if (!on_real_gpu()) environment_ = FakeCuda(node_, report_);
  }
  ~CudaTest() override {
    std::error_code ignored;  // a killed process leaves its counter of memory
    std::filesystem::remove_all("/dev/shm/weightd-fake-cuda-" + node_, ignored);
  }

  DaemonProcess* StartCuda(const std::vector<std::string>& environment = {}) {
    return Start({"--cuda.enabled", "ON"}, environment);
  }
  static bool on_real_gpu() { return RealGpu().has_value(); }
  // After a clean end nothing may have leaked or been misused, by daemon or clients.
  void ExpectNoReport() const {
    std::error_code error;
    EXPECT_FALSE(std::filesystem::exists(report_, error)) << "the fake driver reports misuse";
  }

  const std::string node_ = std::filesystem::path(dir_.path()).filename().string();
  const std::string report_ = dir_.File("fake_cuda_report");
  const std::string gpu_ = RealGpu().value_or(std::string(kFakeGpu));
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_DAEMON_CUDA_FIXTURE_H_
