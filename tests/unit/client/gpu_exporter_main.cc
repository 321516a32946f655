#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <span>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "common/cuda_driver.h"

// gpu_exporter: puts 2 MiB of the bytes 0, 1, 2, ... on the first GPU, prints "UUID HANDLE" (hex),
// and keeps the memory until its stdin ends. It stands for the daemon, whose memory a client opens
// in another process.

namespace {

constexpr size_t kBytes = size_t{2} << 20;

class Exporter {
 public:
  explicit Exporter(const weightd::CudaDriver& cuda) : cuda_(cuda) {}

  bool Run() {
    const auto gpus = weightd::ListCudaDevices(cuda_);
    if (!gpus.ok() || gpus->empty()) return false;
    const CUdevice gpu = gpus->front().device;
    CUcontext context = nullptr;
    CUdeviceptr memory = 0;
    CUipcMemHandle handle{};
    bool ok = Good(cuda_.cuDevicePrimaryCtxRetain(&context, gpu)) &&
              Good(cuda_.cuCtxPushCurrent(context)) && Good(cuda_.cuMemAlloc(&memory, kBytes)) &&
              Fill(memory) && Good(cuda_.cuIpcGetMemHandle(&handle, memory));
    if (ok) {
      const absl::string_view bytes(reinterpret_cast<const char*>(&handle), sizeof(handle));
      std::cout << gpus->front().uuid << ' ' << absl::BytesToHexString(bytes) << std::endl;
      char byte = 0;
      while (::read(STDIN_FILENO, &byte, 1) > 0) {
      }
      CUcontext popped = nullptr;
      ok = Good(cuda_.cuMemFree(memory)) && Good(cuda_.cuCtxPopCurrent(&popped)) &&
           Good(cuda_.cuDevicePrimaryCtxRelease(gpu));
    }
    return ok;
  }

 private:
  bool Good(CUresult result) const {
    if (result != CUDA_SUCCESS) std::cerr << cuda_.ToStatus(result, "gpu_exporter") << '\n';
    return result == CUDA_SUCCESS;
  }
  bool Fill(CUdeviceptr memory) const {
    void* pages =
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return false;
    const std::span<unsigned char> bytes(static_cast<unsigned char*>(pages), kBytes);
    for (size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<unsigned char>(i);
    CUstream stream = nullptr;
    return Good(cuda_.cuMemHostRegister(pages, kBytes, 0)) &&
           Good(cuda_.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING)) &&
           Good(cuda_.cuMemcpyHtoDAsync(memory, pages, kBytes, stream)) &&
           Good(cuda_.cuStreamSynchronize(stream)) && Good(cuda_.cuStreamDestroy(stream)) &&
           Good(cuda_.cuMemHostUnregister(pages)) && ::munmap(pages, kBytes) == 0;
  }

  const weightd::CudaDriver& cuda_;
};

}  // namespace

int main() {
  const auto cuda = weightd::CudaDriver::Load();
  if (!cuda.ok()) {
    std::cerr << cuda.status() << '\n';
    return 1;
  }
  return Exporter(**cuda).Run() ? 0 : 1;
}
