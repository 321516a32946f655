// Memory of one process in another.

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tests/support/fake_cuda/driver.h"
#include "tests/support/fake_cuda/text.h"

using fake_cuda::DeviceMemory;
using fake_cuda::Driver;
using fake_cuda::IpcHandle;
using fake_cuda::Needs;

extern "C" {

CUresult cuIpcGetMemHandle(CUipcMemHandle* result, CUdeviceptr address) {
  FAKE_CUDA_CALL("cuIpcGetMemHandle", Needs::kGoodContext);
  const fake_cuda::Located located = fake_cuda::Locate(call, "export", address, 1);
  if (located.result != CUDA_SUCCESS) return located.result;
  const DeviceMemory& memory = *located.memory;
  if (located.offset != 0) {
    return call.Misuse("not the base of the allocation", CUDA_ERROR_INVALID_VALUE);
  }
  if (memory.imported()) {
    return call.Misuse("the memory is another process's", CUDA_ERROR_INVALID_VALUE);
  }
  const auto& gpu = call.driver().config.visible[static_cast<size_t>(call.context().ordinal)];
  if (!gpu.ipc) return CUDA_ERROR_NOT_SUPPORTED;
  const IpcHandle handle = memory.MakeHandle();
  std::memcpy(result->reserved, &handle, sizeof(handle));
  if (memory.bytes() % fake_cuda::kMemoryBlockBytes == 0) return CUDA_SUCCESS;
  return call.Misuse("not a multiple of 2 MiB: the export hands out its neighbours too",
                     CUDA_SUCCESS);
}

CUresult cuIpcOpenMemHandle(CUdeviceptr* address, CUipcMemHandle wanted, unsigned int flags) {
  FAKE_CUDA_CALL("cuIpcOpenMemHandle", Needs::kGoodContext);
  if (flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) return CUDA_ERROR_INVALID_VALUE;
  IpcHandle handle;
  std::memcpy(&handle, wanted.reserved, sizeof(handle));
  if (handle.pid_namespace != fake_cuda::PidNamespace() || handle.pid == ::getpid()) {
    // Zeros, or bytes that are no handle at all, end here too unless they are a good forgery.
    return handle.pid_namespace == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_CONTEXT;
  }
  if (handle.gpu != call.context().gpu) return CUDA_ERROR_INVALID_DEVICE;
  Driver& driver = call.driver();
  for (const auto& [base, memory] : driver.addresses.all()) {
    if (!memory->imported() || memory->nonce() != handle.nonce) continue;
    ++memory->opens;
    *address = base;
    return CUDA_SUCCESS;
  }
  const std::shared_ptr<DeviceMemory> memory = DeviceMemory::Open(handle);
  if (memory == nullptr) return CUDA_ERROR_INVALID_VALUE;
  memory->context = call.context().handle;
  memory->opens = 1;
  driver.addresses.Add(memory);
  *address = memory->base;
  return CUDA_SUCCESS;
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  FAKE_CUDA_CALL("cuIpcCloseMemHandle", Needs::kGoodContext);
  Driver& driver = call.driver();
  const std::shared_ptr<DeviceMemory> memory = driver.addresses.Find(address);
  if (memory == nullptr || !memory->imported() || memory->base != address) {
    return call.Misuse(fake_cuda::Hex(address) + " is not open", CUDA_ERROR_INVALID_VALUE);
  }
  const bool busy =
      std::any_of(driver.streams.begin(), driver.streams.end(), [&](const auto& entry) {
        return entry.second->AnyInFlight(
            [&](const fake_cuda::Copy& copy) { return copy.Touches(memory.get()); });
      });
  if (busy) return call.Misuse("a copy to or from it is in flight", CUDA_ERROR_INVALID_VALUE);
  if (--memory->opens == 0) driver.addresses.Remove(address);
  return CUDA_SUCCESS;
}

}  // extern "C"
