#include "tests/support/fake_cuda/fake_cuda_control.h"

#include <dlfcn.h>

#include "absl/strings/str_split.h"

namespace weightd::testing {
namespace {

template <typename Function>
bool Resolve(void* library, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, symbol));
  return function != nullptr;
}

}  // namespace

std::optional<FakeCudaControl> FakeCudaControl::Find() {
  // Never closed, as the product never closes it.
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::nullopt;
  FakeCudaControl control;
  if (!Resolve(library, "fake_cuda_set_failures", control.set_failures_) ||
      !Resolve(library, "fake_cuda_hold_copies", control.hold_copies_) ||
      !Resolve(library, "fake_cuda_take_reports", control.take_reports_)) {
    return std::nullopt;
  }
  return control;
}

std::vector<std::string> FakeCudaControl::TakeReports() const {
  std::string buffer(size_t{1} << 16, '\0');
  buffer.resize(take_reports_(buffer.data(), buffer.size()));
  return absl::StrSplit(buffer, '\n', absl::SkipEmpty());
}

}  // namespace weightd::testing
