#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_DRIVER_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_DRIVER_H_

#include <cuda.h>
#include <sys/types.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/fake_cuda/config.h"
#include "tests/support/fake_cuda/device_memory.h"
#include "tests/support/fake_cuda/faults.h"
#include "tests/support/fake_cuda/host_ranges.h"
#include "tests/support/fake_cuda/node.h"
#include "tests/support/fake_cuda/stream.h"

namespace fake_cuda {

// What a function needs before it may run.
enum class Needs {
  kNothing,
  kInit,         // cuInit was called
  kContext,      // and a context is current
  kGoodContext,  // and no error has broken it
};

// All state of the driver in this process. Made at the first use and never destroyed, as the
// threads of streams that a program leaks go on until the very end.
struct Driver {
  static Driver& Get();

  std::mutex mu;  // guards all but what synchronizes itself; taken before a stream's
  Config config;
  pid_t pid = 0;  // of the process that called cuInit; 0 before
  std::unique_ptr<Node> node;
  Faults faults;  // synchronizes itself
  Hold hold;      // synchronizes itself

  std::map<int, std::shared_ptr<Context>> contexts;  // by ordinal, while retained
  std::map<int, int> retained;                       // by ordinal
  int pushed_count = 0;                              // contexts on the stacks of all threads
  bool was_broken = false;                           // some context once was
  uint64_t next_handle = 1;

  AddressTable addresses;
  HostRanges host_ranges;
  std::map<CUstream, std::shared_ptr<Stream>> streams;
  std::map<CUevent, Event> events;
};

// One call from the product. While it exists the driver is locked.
class Call {
 public:
  Call(const char* function, Needs needs);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Not CUDA_SUCCESS: to be returned at once.
  CUresult result() const { return result_; }
  // What an asynchronous copy is to fail with when it runs.
  CUresult later() const { return later_; }
  Context& context() const { return *context_; }
  const std::shared_ptr<Context>& shared_context() const { return context_; }
  Driver& driver() const { return driver_; }
  // Reports "<function>: <line>" and gives `result` back.
  CUresult Misuse(const std::string& line, CUresult result) const;

 private:
  CUresult Check(Needs needs);

  Driver& driver_;
  const std::string function_;
  const std::unique_lock<std::mutex> lock_;
  std::shared_ptr<Context> context_;
  CUresult later_ = CUDA_SUCCESS;
  CUresult result_ = CUDA_SUCCESS;
};

// The contexts that this thread has pushed.
std::vector<CUcontext>& ContextStack();

// A pointer-sized name that is no address: handles cannot be dereferenced.
template <typename Handle>
Handle NewHandle(Driver& driver) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a number that only looks like a pointer
  return reinterpret_cast<Handle>((uint64_t{0x00F1} << 48) + driver.next_handle++);
}

// The range [address, address + bytes) of the call's GPU, or what is wrong with it, reported.
struct Located {
  CUresult result = CUDA_SUCCESS;
  std::shared_ptr<DeviceMemory> memory;
  uint64_t offset = 0;
};
Located Locate(const Call& call, const char* what, CUdeviceptr address, uint64_t bytes);

}  // namespace fake_cuda

// The beginning of every entry point: counts the call and checks what it needs.
#define FAKE_CUDA_CALL(function, needs)          \
  const ::fake_cuda::Call call(function, needs); \
  if (call.result() != CUDA_SUCCESS) return call.result()

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_DRIVER_H_
