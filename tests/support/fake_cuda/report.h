#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_REPORT_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_REPORT_H_

#include <string>

namespace fake_cuda {

// Tells what the process did wrong; see fake_cuda.h. Thread-safe.
void Report(const std::string& line);

}  // namespace fake_cuda

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_REPORT_H_
