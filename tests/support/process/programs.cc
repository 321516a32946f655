#include "tests/support/process/programs.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace weightd::testing {

std::string DaemonProgram() { return WEIGHTD_DAEMON_PROGRAM; }
std::string WeightctlProgram() { return WEIGHTD_WEIGHTCTL_PROGRAM; }
std::string AttachProbeProgram() { return WEIGHTD_ATTACH_PROBE_PROGRAM; }
std::string WithoutUringProgram() { return WEIGHTD_WITHOUT_URING_PROGRAM; }

std::vector<std::string> FaultPreload(const std::vector<std::string>& settings) {
  std::vector<std::string> environment = settings;
  environment.push_back("LD_PRELOAD=" WEIGHTD_FAULT_PRELOAD);
  // The preload comes before the sanitizer's runtime, and passes everything on to it.
  environment.push_back("ASAN_OPTIONS=verify_asan_link_order=0");
  return environment;
}

std::optional<std::string> RealGpu() {
  const char* uuid = std::getenv("WEIGHTD_TEST_GPU");
  if (uuid == nullptr || *uuid == '\0') return std::nullopt;
  return uuid;
}

std::vector<std::string> FakeCuda(absl::string_view node, absl::string_view report) {
  const std::string folder = WEIGHTD_FAKE_CUDA_FOLDER;
  if (folder.empty()) return {};
  return {absl::StrCat("LD_LIBRARY_PATH=", folder), absl::StrCat("WEIGHTD_FAKE_CUDA_NODE=", node),
          absl::StrCat("WEIGHTD_FAKE_CUDA_REPORT=", report)};
}

}  // namespace weightd::testing
