#include "common/cuda_driver.h"

#include <dlfcn.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {

#if WEIGHTD_HAVE_CUDA

namespace {

constexpr const char* kLibraryName = "libcuda.so.1";

// Resolves one entry point; a missing one is remembered in `missing`.
template <typename Function>
void Resolve(void* library, const char* symbol, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(::dlsym(library, symbol));
  if (function == nullptr) absl::StrAppend(&missing, missing.empty() ? "" : ", ", symbol);
}

absl::StatusOr<const CudaDriver*> LoadOnce() {
  void* library = ::dlopen(kLibraryName, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* error = ::dlerror();
    return absl::NotFoundError(
        absl::StrCat("load CUDA driver: ", error != nullptr ? error : kLibraryName,
                     "; install the NVIDIA driver, or go on without a GPU"));
  }
  static CudaDriver driver;
  std::string missing;
#define WEIGHTD_STRING_INNER(x) #x
#define WEIGHTD_STRING(x) WEIGHTD_STRING_INNER(x)
#define WEIGHTD_CUDA_RESOLVE(name) Resolve(library, WEIGHTD_STRING(name), driver.name, missing);
  WEIGHTD_CUDA_FUNCTIONS(WEIGHTD_CUDA_RESOLVE)
#undef WEIGHTD_CUDA_RESOLVE
  if (!missing.empty()) {
    return absl::UnimplementedError(absl::StrCat("load CUDA driver: ", kLibraryName, " lacks ",
                                                 missing, "; the driver is too old"));
  }
  if (const CUresult result = driver.cuInit(0); result != CUDA_SUCCESS) {
    const absl::Status status = driver.ToStatus(result, "initialise CUDA driver");
    return absl::UnavailableError(status.message());
  }
  if (driver.cuDriverGetVersion(&driver.version) != CUDA_SUCCESS) driver.version = 0;
  return &driver;
}

}  // namespace

absl::StatusOr<const CudaDriver*> CudaDriver::Load() {
  static const absl::StatusOr<const CudaDriver*> result = LoadOnce();
  return result;
}

absl::Status CudaDriver::ToStatus(CUresult result, absl::string_view what) const {
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  const char* name = nullptr;
  const char* text = nullptr;
  if (cuGetErrorName(result, &name) != CUDA_SUCCESS || name == nullptr) name = "CUDA_ERROR_UNKNOWN";
  if (cuGetErrorString(result, &text) != CUDA_SUCCESS || text == nullptr) text = "no text";
  absl::StatusCode code = absl::StatusCode::kInternal;
  if (result == CUDA_ERROR_OUT_OF_MEMORY) code = absl::StatusCode::kResourceExhausted;
  if (result == CUDA_ERROR_INVALID_VALUE) code = absl::StatusCode::kInvalidArgument;
  return ErrorWithReason(code, Reason::kDeviceFailed,
                         absl::StrCat(what, ": ", name, " (", text, ")"));
}

absl::StatusOr<ScopedCudaContext> ScopedCudaContext::Push(const CudaDriver& driver,
                                                          CUcontext context) {
  RETURN_IF_ERROR(driver.ToStatus(driver.cuCtxPushCurrent(context), "make CUDA context current"));
  return ScopedCudaContext(driver);
}

ScopedCudaContext::ScopedCudaContext(ScopedCudaContext&& other) noexcept
    : driver_(std::exchange(other.driver_, nullptr)) {}

ScopedCudaContext::~ScopedCudaContext() {
  if (driver_ == nullptr) return;
  CUcontext popped = nullptr;
  // Fails only for a context that is gone, and then there is nothing to restore.
  (void)driver_->cuCtxPopCurrent(&popped);
}

std::string FormatGpuUuid(const CUuuid& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    absl::StrAppendFormat(&text, "%02x", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

absl::StatusOr<std::vector<CudaDeviceInfo>> ListCudaDevices(const CudaDriver& driver) {
  int count = 0;
  RETURN_IF_ERROR(driver.ToStatus(driver.cuDeviceGetCount(&count), "count GPUs"));
  std::vector<CudaDeviceInfo> devices;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    CudaDeviceInfo info;
    info.ordinal = ordinal;
    const std::string what = absl::StrCat("query GPU ", ordinal);
    RETURN_IF_ERROR(driver.ToStatus(driver.cuDeviceGet(&info.device, ordinal), what));
    CUuuid uuid{};
    RETURN_IF_ERROR(driver.ToStatus(driver.cuDeviceGetUuid(&uuid, info.device), what));
    info.uuid = FormatGpuUuid(uuid);
    std::array<char, 256> name{};
    RETURN_IF_ERROR(driver.ToStatus(
        driver.cuDeviceGetName(name.data(), static_cast<int>(name.size()) - 1, info.device), what));
    info.name = name.data();
    size_t total = 0;
    RETURN_IF_ERROR(driver.ToStatus(driver.cuDeviceTotalMem(&total, info.device), what));
    info.total_bytes = total;
    devices.push_back(std::move(info));
  }
  return devices;
}

#else

absl::StatusOr<const CudaDriver*> CudaDriver::Load() {
  return absl::UnimplementedError(
      "load CUDA driver: this binary was built without the CUDA Toolkit's cuda.h; build it where "
      "cuda.h is found (CUDA_HOME), or go on without a GPU");
}

#endif  // WEIGHTD_HAVE_CUDA

}  // namespace weightd
