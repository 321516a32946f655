#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_FAKE_CUDA_CONTROL_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_FAKE_CUDA_CONTROL_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace weightd::testing {

// The fake driver of this process, as a test steers it; see fake_cuda.h. Thread-safe.
class FakeCudaControl {
 public:
  // None when libcuda.so.1 is not the fake, or cannot be loaded: LD_LIBRARY_PATH lacks its folder.
  static std::optional<FakeCudaControl> Find();

  // "cuMemAlloc:3:CUDA_ERROR_OUT_OF_MEMORY,..."; an empty plan ends all failures.
  void SetFailures(const std::string& plan) const { set_failures_(plan.c_str()); }
  // While held, no copy runs.
  void HoldCopies(bool hold) const { hold_copies_(hold ? 1 : 0); }
  // What the fake has found wrong since the last call. Empty is good.
  std::vector<std::string> TakeReports() const;

 private:
  FakeCudaControl() = default;
  void (*set_failures_)(const char*) = nullptr;
  void (*hold_copies_)(int) = nullptr;
  size_t (*take_reports_)(char*, size_t) = nullptr;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_FAKE_CUDA_CONTROL_H_
