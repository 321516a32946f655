#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_PROGRAMS_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_PROGRAMS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// The programs of this build, by their paths. Thread-safe.

namespace weightd::testing {

std::string DaemonProgram();
std::string WeightctlProgram();
std::string AttachProbeProgram();
// weightd_without_uring: runs a program where io_uring is forbidden.
std::string WithoutUringProgram();

// Environment that puts tests/support/storage/fault_preload.cc in front of a program; `settings`
// are its variables.
std::vector<std::string> FaultPreload(const std::vector<std::string>& settings);

// Environment that makes the fake libcuda.so.1 the driver; empty where it is not built. `node`
// names a set of GPUs that processes share, `report` is the file for what it finds wrong.
std::vector<std::string> FakeCuda(absl::string_view node, absl::string_view report);
// The first GPUs of the fake.
inline constexpr absl::string_view kFakeGpu = "GPU-fa4ec0da-0000-4000-8000-000000000000";
inline constexpr absl::string_view kSecondFakeGpu = "GPU-fa4ec0da-0000-4000-8000-000000000001";

// WEIGHTD_TEST_GPU: the UUID of a real GPU that the tests are to use instead of the fake ones.
// Those that steer the fake driver skip themselves. See tests/gpu.sh.
std::optional<std::string> RealGpu();

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_PROGRAMS_H_
