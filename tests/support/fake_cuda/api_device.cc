// Initialisation, devices, contexts, and the names of errors.

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tests/support/fake_cuda/driver.h"
#include "tests/support/fake_cuda/errors.h"

using fake_cuda::Context;
using fake_cuda::ContextStack;
using fake_cuda::DeviceMemory;
using fake_cuda::Driver;
using fake_cuda::GpuConfig;
using fake_cuda::Needs;
using fake_cuda::Stream;

namespace {

// Null for an ordinal that there is not.
const GpuConfig* Gpu(const Driver& driver, CUdevice device) {
  const auto& visible = driver.config.visible;
  if (device < 0 || static_cast<size_t>(device) >= visible.size()) return nullptr;
  return &visible[static_cast<size_t>(device)];
}

// As the driver does with the last release. The streams are handed out, since ending one waits. How
// many things there were.
size_t DestroyAllIn(Driver& driver, CUcontext context,
                    std::vector<std::shared_ptr<Stream>>& streams) {
  std::vector<std::shared_ptr<DeviceMemory>> memories;
  for (const auto& [base, memory] : driver.addresses.all()) {
    if (memory->context == context) memories.push_back(memory);
  }
  for (const auto& memory : memories) {
    driver.addresses.Remove(memory->base);
    if (memory->imported()) continue;
    memory->MarkFreed();
    driver.node->GiveBack(memory->gpu(), fake_cuda::WholeBlocks(memory->bytes()));
  }
  for (const auto& [name, stream] : driver.streams) {
    if (stream->context().handle == context) streams.push_back(stream);
  }
  std::erase_if(driver.streams,
                [&](const auto& entry) { return entry.second->context().handle == context; });
  const size_t events = std::erase_if(
      driver.events, [&](const auto& entry) { return entry.second.context == context; });
  return memories.size() + streams.size() + events + driver.host_ranges.RemoveOwnedBy(context);
}

}  // namespace

extern "C" {

CUresult cuInit(unsigned int flags) {
  FAKE_CUDA_CALL("cuInit", Needs::kNothing);
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Driver& driver = call.driver();
  if (driver.pid == ::getpid()) return CUDA_SUCCESS;
  if (driver.pid != 0) {
    return call.Misuse("called in a forked child of a process that had called it",
                       CUDA_ERROR_NOT_INITIALIZED);
  }
  driver.config = fake_cuda::ReadConfig();
  // A failure of cuInit itself is counted below, since the plan is known only now.
  driver.faults.Set(driver.config.failures);
  if (const auto failure = driver.faults.Count("cuInit"); failure.has_value()) {
    return failure->result;
  }
  if (driver.config.visible.empty()) return CUDA_ERROR_NO_DEVICE;
  driver.node = std::make_unique<fake_cuda::Node>(driver.config.node);
  driver.pid = ::getpid();
  return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* version) {
  FAKE_CUDA_CALL("cuDriverGetVersion", Needs::kNothing);
  *version = call.driver().config.version;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** name) {
  const fake_cuda::ErrorRow* row = fake_cuda::FindError(error);
  *name = row == nullptr ? nullptr : row->name;
  return row == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** text) {
  const fake_cuda::ErrorRow* row = fake_cuda::FindError(error);
  *text = row == nullptr ? nullptr : row->text;
  return row == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  FAKE_CUDA_CALL("cuDeviceGetCount", Needs::kInit);
  *count = static_cast<int>(call.driver().config.visible.size());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  FAKE_CUDA_CALL("cuDeviceGet", Needs::kInit);
  if (Gpu(call.driver(), ordinal) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  FAKE_CUDA_CALL("cuDeviceGetName", Needs::kInit);
  const GpuConfig* gpu = Gpu(call.driver(), device);
  if (gpu == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (length < 1) return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(name, static_cast<size_t>(length), "%s", gpu->name.c_str());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  FAKE_CUDA_CALL("cuDeviceGetUuid", Needs::kInit);
  const GpuConfig* gpu = Gpu(call.driver(), device);
  if (gpu == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *uuid = gpu->uuid;
  return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  FAKE_CUDA_CALL("cuDeviceTotalMem", Needs::kInit);
  const GpuConfig* gpu = Gpu(call.driver(), device);
  if (gpu == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = gpu->memory_bytes;
  return CUDA_SUCCESS;
}

// CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID, which a cuda.h before 12.2 does not name.
constexpr auto kHostNumaId = static_cast<CUdevice_attribute>(134);

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  FAKE_CUDA_CALL("cuDeviceGetAttribute", Needs::kInit);
  const GpuConfig* gpu = Gpu(call.driver(), device);
  if (gpu == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
      *value = gpu->prohibited ? CU_COMPUTEMODE_PROHIBITED : CU_COMPUTEMODE_DEFAULT;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
      *value = gpu->unified_addressing ? 1 : 0;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED:
      *value = gpu->ipc ? 1 : 0;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED:
      *value = gpu->read_only_registration ? 1 : 0;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = 9;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = 0;
      return CUDA_SUCCESS;
    case kHostNumaId:
      *value = device == 0 ? 0 : -1;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;  // as a driver answers that is older than the attribute
  }
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* result, CUdevice device) {
  FAKE_CUDA_CALL("cuDevicePrimaryCtxRetain", Needs::kInit);
  Driver& driver = call.driver();
  const GpuConfig* gpu = Gpu(driver, device);
  if (gpu == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (gpu->prohibited) return CUDA_ERROR_DEVICE_UNAVAILABLE;
  std::shared_ptr<Context>& context = driver.contexts[device];
  if (context == nullptr) {
    context = std::make_shared<Context>();
    context->ordinal = device;
    context->gpu = gpu->index;
    context->handle = fake_cuda::NewHandle<CUcontext>(driver);
  }
  ++driver.retained[device];
  *result = context->handle;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  std::vector<std::shared_ptr<Stream>> streams;  // end after the call has given the lock back
  FAKE_CUDA_CALL("cuDevicePrimaryCtxRelease", Needs::kInit);
  Driver& driver = call.driver();
  const auto found = driver.contexts.find(device);
  if (found == driver.contexts.end()) {
    return call.Misuse("the primary context is not retained", CUDA_ERROR_INVALID_CONTEXT);
  }
  if (--driver.retained[device] > 0) return CUDA_SUCCESS;
  const CUcontext handle = found->second->handle;
  const bool broken = found->second->broken.load() != CUDA_SUCCESS;
  driver.was_broken |= broken;
  const size_t left = DestroyAllIn(driver, handle, streams);
  driver.contexts.erase(found);
  if (left == 0 || broken) return CUDA_SUCCESS;
  return call.Misuse(
      std::to_string(left) + " allocations, streams, events or registrations are left in it",
      CUDA_SUCCESS);
}

CUresult cuCtxPushCurrent(CUcontext context) {
  FAKE_CUDA_CALL("cuCtxPushCurrent", Needs::kInit);
  const auto& contexts = call.driver().contexts;
  const bool known = std::any_of(contexts.begin(), contexts.end(), [&](const auto& entry) {
    return entry.second->handle == context;
  });
  if (!known) return call.Misuse("no such context", CUDA_ERROR_INVALID_CONTEXT);
  ContextStack().push_back(context);
  ++call.driver().pushed_count;
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext* context) {
  FAKE_CUDA_CALL("cuCtxPopCurrent", Needs::kInit);
  if (ContextStack().empty()) {
    return call.Misuse("no context is pushed", CUDA_ERROR_INVALID_CONTEXT);
  }
  if (context != nullptr) *context = ContextStack().back();
  ContextStack().pop_back();
  --call.driver().pushed_count;
  return CUDA_SUCCESS;
}

}  // extern "C"
