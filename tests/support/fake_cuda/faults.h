#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_FAULTS_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_FAULTS_H_

#include <cuda.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fake_cuda {

// Which call fails, by its name and number. Thread-safe.
class Faults {
 public:
  struct Failure {
    CUresult result = CUDA_SUCCESS;
    bool later = false;  // when the copy runs
  };

  // A plan as in WEIGHTD_FAKE_CUDA_FAIL. What cannot be read is reported and left out.
  void Set(std::string_view plan);
  // Counts one call of `function`; the failure that it is to have, if any.
  std::optional<Failure> Count(const std::string& function);

 private:
  struct Rule {
    std::string function;
    uint64_t nth = 0;
    bool and_later_calls = false;
    Failure failure;
  };
  static std::optional<Rule> Parse(std::string_view text);

  std::mutex mu_;
  std::vector<Rule> rules_;                // guarded by mu_
  std::map<std::string, uint64_t> calls_;  // guarded by mu_
};

}  // namespace fake_cuda

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_FAULTS_H_
