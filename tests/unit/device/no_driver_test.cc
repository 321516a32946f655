// Runs without the fake driver in LD_LIBRARY_PATH.

#include <dlfcn.h>

#include "daemon/device/device.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

TEST(NoDriverTest, OpeningGpusSaysWhatIsMissing) {
  if (void* library = ::dlopen("libcuda.so.1", RTLD_LAZY); library != nullptr) {
    ::dlclose(library);
    GTEST_SKIP() << "this machine has a CUDA driver";
  }
  const auto devices = OpenCudaDevices();
  ASSERT_FALSE(devices.ok());
  EXPECT_THAT(devices.status().code(),
              AnyOf(absl::StatusCode::kNotFound, absl::StatusCode::kUnimplemented));
  EXPECT_THAT(std::string(devices.status().message()),
              AnyOf(HasSubstr("install the NVIDIA driver"), HasSubstr("cuda.h")));
}

}  // namespace
}  // namespace weightd
