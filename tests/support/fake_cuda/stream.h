#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_STREAM_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_STREAM_H_

#include <cuda.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "tests/support/fake_cuda/device_memory.h"
#include "tests/support/fake_cuda/host_ranges.h"

namespace fake_cuda {

// A primary context. The error that broke it, if one did, is kept here: streams set it.
struct Context {
  int ordinal = 0;
  int gpu = 0;
  CUcontext handle = nullptr;
  std::atomic<CUresult> broken = CUDA_SUCCESS;
};

// A copy that waits or runs.
struct Copy {
  std::shared_ptr<DeviceMemory> to;
  uint64_t to_offset = 0;
  std::shared_ptr<DeviceMemory> from_device;  // or null, and
  uint64_t from_offset = 0;
  const void* from_host = nullptr;
  uint64_t bytes = 0;
  CUresult failure = CUDA_SUCCESS;  // what it is to end with

  bool Touches(const DeviceMemory* memory) const {
    return to.get() == memory || from_device.get() == memory;
  }
  bool Reads(const Range& host) const {
    return from_host != nullptr && RangeOf(from_host, bytes).overlaps(host);
  }
  bool Writes(const DeviceMemory* memory, uint64_t offset, uint64_t count) const {
    return to.get() == memory && to_offset < offset + count && offset < to_offset + bytes;
  }
};

// Lets copies run or holds them, for all streams. Thread-safe.
class Hold {
 public:
  void Set(bool held);
  // Waits until copies may run.
  void Wait();

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  bool held_ = false;  // guarded by mu_
};

// Runs copies one after the other on its own thread. Thread-safe.
class Stream {
 public:
  Stream(std::shared_ptr<Context> context, Hold& hold, uint64_t copy_delay_us);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  // Runs what waits, then ends.
  ~Stream();

  Context& context() const { return *context_; }
  void Enqueue(Copy copy);
  // How many copies were submitted, and how many are done.
  uint64_t submitted() const;
  uint64_t done() const;
  void WaitUntilDone(uint64_t count);

  // Whether `predicate` holds for a copy that is not done.
  template <typename Predicate>
  bool AnyInFlight(Predicate predicate) const {
    const std::lock_guard lock(mu_);
    for (const Copy& copy : copies_) {
      if (predicate(copy)) return true;
    }
    return false;
  }

 private:
  void Run();
  CUresult Execute(const Copy& copy);

  const std::shared_ptr<Context> context_;  // fixed at construction, as the next two
  Hold& hold_;
  const uint64_t copy_delay_us_;
  mutable std::mutex mu_;
  std::condition_variable changed_;
  std::deque<Copy> copies_;  // guarded by mu_; the first may be running
  uint64_t submitted_ = 0;   // guarded by mu_
  uint64_t done_ = 0;        // guarded by mu_
  bool ending_ = false;      // guarded by mu_
  std::thread thread_;       // last: it uses all of the above
};

// A point in a stream.
struct Event {
  CUcontext context = nullptr;
  std::shared_ptr<Stream> stream;  // null before it is recorded
  uint64_t position = 0;           // copies submitted then
};

}  // namespace fake_cuda

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_STREAM_H_
