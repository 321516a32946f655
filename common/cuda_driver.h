#ifndef WEIGHTD_COMMON_CUDA_DRIVER_H_
#define WEIGHTD_COMMON_CUDA_DRIVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#if WEIGHTD_HAVE_CUDA
#include <cuda.h>
#endif

// The CUDA driver API as a table of entry points, resolved at run time from libcuda.so.1, so that
// one binary starts on a node with and without a driver. Daemon and client use the same table.
//
// Built without the CUDA Toolkit's cuda.h (WEIGHTD_HAVE_CUDA is 0), Load() says so and nothing else
// here exists.

namespace weightd {

#if WEIGHTD_HAVE_CUDA

// Every entry point that weightd calls, and nothing more. cuda.h maps a name to its newest
// version (cuMemAlloc is cuMemAlloc_v2); the table looks up that version.
#define WEIGHTD_CUDA_FUNCTIONS(X) \
  X(cuInit)                       \
  X(cuDriverGetVersion)           \
  X(cuGetErrorName)               \
  X(cuGetErrorString)             \
  X(cuDeviceGetCount)             \
  X(cuDeviceGet)                  \
  X(cuDeviceGetName)              \
  X(cuDeviceGetUuid)              \
  X(cuDeviceGetAttribute)         \
  X(cuDeviceTotalMem)             \
  X(cuDevicePrimaryCtxRetain)     \
  X(cuDevicePrimaryCtxRelease)    \
  X(cuCtxPushCurrent)             \
  X(cuCtxPopCurrent)              \
  X(cuMemGetInfo)                 \
  X(cuMemAlloc)                   \
  X(cuMemFree)                    \
  X(cuMemHostRegister)            \
  X(cuMemHostUnregister)          \
  X(cuMemcpyHtoDAsync)            \
  X(cuMemcpyDtoDAsync)            \
  X(cuMemcpyDtoH)                 \
  X(cuStreamCreate)               \
  X(cuStreamDestroy)              \
  X(cuStreamSynchronize)          \
  X(cuEventCreate)                \
  X(cuEventDestroy)               \
  X(cuEventRecord)                \
  X(cuEventQuery)                 \
  X(cuEventSynchronize)           \
  X(cuIpcGetMemHandle)            \
  X(cuIpcOpenMemHandle)           \
  X(cuIpcCloseMemHandle)

// Thread-safe after Load(). Lives until the process ends: the library is never unloaded, since
// CUDA calls from exit handlers are undefined (rmm, process_is_exiting.hpp).
struct CudaDriver {
#define WEIGHTD_CUDA_MEMBER(name) decltype(&::name) name = nullptr;
  WEIGHTD_CUDA_FUNCTIONS(WEIGHTD_CUDA_MEMBER)
#undef WEIGHTD_CUDA_MEMBER

  // Version of the driver, e.g. 13000 for CUDA 13.0.
  int version = 0;

  // Opens libcuda.so.1 once per process, resolves the table and calls cuInit. NOT_FOUND without a
  // driver, UNAVAILABLE when cuInit refuses (no GPU, a driver that does not fit the kernel
  // module), UNIMPLEMENTED when the driver is too old and lacks an entry point. The result of the
  // first call is kept.
  static absl::StatusOr<const CudaDriver*> Load();

  // CUresult -> Status: "<what>: CUDA_ERROR_NAME (text)". Reason kDeviceFailed; out of memory is
  // RESOURCE_EXHAUSTED, an invalid value INVALID_ARGUMENT, everything else INTERNAL.
  absl::Status ToStatus(CUresult result, absl::string_view what) const;
};

// Makes a context current on this thread for the lifetime of the object.
class ScopedCudaContext {
 public:
  static absl::StatusOr<ScopedCudaContext> Push(const CudaDriver& driver, CUcontext context);
  ScopedCudaContext(ScopedCudaContext&& other) noexcept;
  ScopedCudaContext& operator=(ScopedCudaContext&&) = delete;
  ~ScopedCudaContext();

 private:
  explicit ScopedCudaContext(const CudaDriver& driver) : driver_(&driver) {}
  const CudaDriver* driver_;
};

// "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", as nvidia-smi prints it.
std::string FormatGpuUuid(const CUuuid& uuid);

// A GPU that this process sees. CUDA_VISIBLE_DEVICES and MIG make ordinals private to a process;
// between processes a GPU is named by its UUID.
struct CudaDeviceInfo {
  CUdevice device = 0;
  int ordinal = 0;
  std::string uuid;
  std::string name;
  uint64_t total_bytes = 0;
};

absl::StatusOr<std::vector<CudaDeviceInfo>> ListCudaDevices(const CudaDriver& driver);

#else

struct CudaDriver {
  // Always UNIMPLEMENTED, with the text that says what is missing.
  static absl::StatusOr<const CudaDriver*> Load();
};

#endif  // WEIGHTD_HAVE_CUDA

}  // namespace weightd

#endif  // WEIGHTD_COMMON_CUDA_DRIVER_H_
