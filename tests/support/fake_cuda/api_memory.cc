// Device memory, registered host memory and copies.

#include <algorithm>
#include <cstring>

#include "tests/support/fake_cuda/driver.h"
#include "tests/support/fake_cuda/text.h"

using fake_cuda::Call;
using fake_cuda::Copy;
using fake_cuda::DeviceMemory;
using fake_cuda::Driver;
using fake_cuda::Located;
using fake_cuda::Needs;
using fake_cuda::Stream;

namespace {

const fake_cuda::GpuConfig& GpuOf(const Call& call) {
  return call.driver().config.visible[static_cast<size_t>(call.context().ordinal)];
}

// Whether a copy of any stream that is not done answers `predicate`.
template <typename Predicate>
bool AnyInFlight(const Driver& driver, Predicate predicate) {
  return std::any_of(driver.streams.begin(), driver.streams.end(),
                     [&](const auto& entry) { return entry.second->AnyInFlight(predicate); });
}

// The stream of an asynchronous copy; null, reported, when it is not one of the current context.
Stream* StreamOf(const Call& call, CUstream name) {
  const auto found = call.driver().streams.find(name);
  if (found == call.driver().streams.end()) {
    call.Misuse("no such stream " + fake_cuda::Hex(name), CUDA_ERROR_INVALID_HANDLE);
    return nullptr;
  }
  if (found->second->context().handle != call.context().handle) {
    call.Misuse("the stream is of another context", CUDA_ERROR_INVALID_HANDLE);
    return nullptr;
  }
  return found->second.get();
}

}  // namespace

extern "C" {

CUresult cuMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  FAKE_CUDA_CALL("cuMemGetInfo", Needs::kGoodContext);
  *total_bytes = GpuOf(call).memory_bytes;
  const uint64_t used = call.driver().node->UsedBytes(call.context().gpu);
  *free_bytes = *total_bytes - std::min<uint64_t>(used, *total_bytes);
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr* address, size_t bytes) {
  FAKE_CUDA_CALL("cuMemAlloc", Needs::kGoodContext);
  if (bytes == 0) return call.Misuse("0 bytes", CUDA_ERROR_INVALID_VALUE);
  Driver& driver = call.driver();
  const uint64_t total = GpuOf(call).memory_bytes;
  const int gpu = call.context().gpu;
  if (bytes > total || !driver.node->Take(gpu, fake_cuda::WholeBlocks(bytes), total)) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const std::shared_ptr<DeviceMemory> memory = DeviceMemory::Create(gpu, bytes);
  if (memory == nullptr) {
    driver.node->GiveBack(gpu, fake_cuda::WholeBlocks(bytes));
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  memory->context = call.context().handle;
  driver.addresses.Add(memory);
  *address = memory->base;
  return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr address) {
  FAKE_CUDA_CALL("cuMemFree", Needs::kGoodContext);
  Driver& driver = call.driver();
  const std::shared_ptr<DeviceMemory> memory = driver.addresses.Find(address);
  if (memory == nullptr) {
    return call.Misuse(
        fake_cuda::Hex(address) +
            (driver.addresses.WasFreed(address) ? " was freed before" : " was never given out"),
        CUDA_ERROR_INVALID_VALUE);
  }
  if (memory->imported()) {
    return call.Misuse("the memory is another process's", CUDA_ERROR_INVALID_VALUE);
  }
  if (memory->base != address) {
    return call.Misuse("not the base of the allocation", CUDA_ERROR_INVALID_VALUE);
  }
  if (AnyInFlight(driver, [&](const Copy& copy) { return copy.Touches(memory.get()); })) {
    return call.Misuse("a copy to or from the memory is in flight", CUDA_ERROR_INVALID_VALUE);
  }
  const bool open_elsewhere = memory->MarkFreed();
  driver.addresses.Remove(address);
  driver.node->GiveBack(memory->gpu(), fake_cuda::WholeBlocks(memory->bytes()));
  if (!open_elsewhere) return CUDA_SUCCESS;
  return call.Misuse("freed while another process has the memory open", CUDA_SUCCESS);
}

CUresult cuMemHostRegister(void* memory, size_t bytes, unsigned int flags) {
  FAKE_CUDA_CALL("cuMemHostRegister", Needs::kGoodContext);
  const fake_cuda::Range range = fake_cuda::RangeOf(memory, bytes);
  if (memory == nullptr || bytes == 0 || !fake_cuda::IsMapped(range)) {
    return call.Misuse("the memory is not mapped", CUDA_ERROR_INVALID_VALUE);
  }
  // Memory that cannot be written is taken only by a GPU that will not write it.
  const bool read_only = (flags & CU_MEMHOSTREGISTER_READ_ONLY) != 0;
  const auto ordinal = static_cast<size_t>(call.context().ordinal);
  if (read_only && !call.driver().config.visible[ordinal].read_only_registration) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  if (!read_only && !fake_cuda::IsWritable(range)) return CUDA_ERROR_INVALID_VALUE;
  if (call.driver().host_ranges.Overlaps(range)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  call.driver().host_ranges.Add(range, call.context().handle);
  return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void* memory) {
  FAKE_CUDA_CALL("cuMemHostUnregister", Needs::kGoodContext);
  Driver& driver = call.driver();
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  const fake_cuda::Range range = driver.host_ranges.Find(begin);
  if (range.begin == range.end) {
    return call.Misuse("the memory is not registered", CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  }
  if (AnyInFlight(driver, [&](const Copy& copy) { return copy.Reads(range); })) {
    return call.Misuse("a copy from the memory is in flight", CUDA_ERROR_INVALID_VALUE);
  }
  driver.host_ranges.Remove(begin);
  if (fake_cuda::IsMapped(range)) return CUDA_SUCCESS;
  return call.Misuse("the memory was unmapped before", CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream name) {
  FAKE_CUDA_CALL("cuMemcpyHtoDAsync", Needs::kGoodContext);
  Stream* stream = StreamOf(call, name);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const Located target = fake_cuda::Locate(call, "write", to, bytes);
  if (target.result != CUDA_SUCCESS) return target.result;
  if (!call.driver().host_ranges.Covers(fake_cuda::RangeOf(from, bytes))) {
    return call.Misuse("host memory at " + fake_cuda::Hex(from) + " is not registered",
                       CUDA_ERROR_INVALID_VALUE);
  }
  Copy copy;
  copy.to = target.memory;
  copy.to_offset = target.offset;
  copy.from_host = from;
  copy.bytes = bytes;
  copy.failure = call.later();
  stream->Enqueue(std::move(copy));
  return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream name) {
  FAKE_CUDA_CALL("cuMemcpyDtoDAsync", Needs::kGoodContext);
  Stream* stream = StreamOf(call, name);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const Located target = fake_cuda::Locate(call, "write", to, bytes);
  if (target.result != CUDA_SUCCESS) return target.result;
  const Located source = fake_cuda::Locate(call, "read", from, bytes);
  if (source.result != CUDA_SUCCESS) return source.result;
  if (to < from + bytes && from < to + bytes) {
    return call.Misuse("the ranges overlap", CUDA_ERROR_INVALID_VALUE);
  }
  Copy copy;
  copy.to = target.memory;
  copy.to_offset = target.offset;
  copy.from_device = source.memory;
  copy.from_offset = source.offset;
  copy.bytes = bytes;
  copy.failure = call.later();
  stream->Enqueue(std::move(copy));
  return CUDA_SUCCESS;
}

// Of the Python package alone. Returns when the memory has the bytes, whatever `from` is.
CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
  FAKE_CUDA_CALL("cuMemcpyHtoD", Needs::kGoodContext);
  const Located target = fake_cuda::Locate(call, "write", to, bytes);
  if (target.result != CUDA_SUCCESS) return target.result;
  std::memcpy(target.memory->host() + target.offset, from, bytes);
  return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
  FAKE_CUDA_CALL("cuMemcpyDtoH", Needs::kGoodContext);
  const Located source = fake_cuda::Locate(call, "read", from, bytes);
  if (source.result != CUDA_SUCCESS) return source.result;
  const DeviceMemory* memory = source.memory.get();
  if (AnyInFlight(call.driver(),
                  [&](const Copy& copy) { return copy.Writes(memory, source.offset, bytes); })) {
    return call.Misuse("a copy to these bytes is in flight", CUDA_ERROR_INVALID_VALUE);
  }
  std::memcpy(to, memory->host() + source.offset, bytes);
  return CUDA_SUCCESS;
}

}  // extern "C"
