#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_ERRORS_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_ERRORS_H_

#include <cuda.h>

#include <optional>
#include <string_view>

namespace fake_cuda {

struct ErrorRow {
  CUresult result;
  const char* name;
  const char* text;
};

// Null for a result that the fake does not know.
const ErrorRow* FindError(CUresult result);
// By name, "CUDA_ERROR_OUT_OF_MEMORY".
std::optional<CUresult> ErrorFromName(std::string_view name);
// Whether the driver keeps returning it until the context is destroyed.
bool IsSticky(CUresult result);

}  // namespace fake_cuda

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_ERRORS_H_
