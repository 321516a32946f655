#include "tests/support/fake_cuda/stream.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "tests/support/fake_cuda/errors.h"
#include "tests/support/fake_cuda/report.h"

namespace fake_cuda {

void Hold::Set(bool held) {
  const std::lock_guard lock(mu_);
  held_ = held;
  changed_.notify_all();
}

void Hold::Wait() {
  std::unique_lock lock(mu_);
  changed_.wait(lock, [this] { return !held_; });
}

Stream::Stream(std::shared_ptr<Context> context, Hold& hold, uint64_t copy_delay_us)
    : context_(std::move(context)),
      hold_(hold),
      copy_delay_us_(copy_delay_us),
      thread_([this] { Run(); }) {}

Stream::~Stream() {
  {
    const std::lock_guard lock(mu_);
    ending_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Stream::Enqueue(Copy copy) {
  const std::lock_guard lock(mu_);
  copies_.push_back(std::move(copy));
  ++submitted_;
  changed_.notify_all();
}

uint64_t Stream::submitted() const {
  const std::lock_guard lock(mu_);
  return submitted_;
}

uint64_t Stream::done() const {
  const std::lock_guard lock(mu_);
  return done_;
}

void Stream::WaitUntilDone(uint64_t count) {
  std::unique_lock lock(mu_);
  changed_.wait(lock, [&] { return done_ >= count; });
}

CUresult Stream::Execute(const Copy& copy) {
  if (copy.failure != CUDA_SUCCESS) return copy.failure;
  const DeviceMemory* from = copy.from_device.get();
  if (copy.to->freed() || (from != nullptr && from->freed())) return CUDA_ERROR_ILLEGAL_ADDRESS;
  if (copy.from_host != nullptr && !IsMapped(RangeOf(copy.from_host, copy.bytes))) {
    Report("copy: host memory was unmapped while the copy from it was in flight");
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  }
  const void* source = copy.from_host != nullptr ? copy.from_host : from->host() + copy.from_offset;
  std::memcpy(copy.to->host() + copy.to_offset, source, copy.bytes);
  return CUDA_SUCCESS;
}

void Stream::Run() {
  std::unique_lock lock(mu_);
  while (true) {
    changed_.wait(lock, [this] { return !copies_.empty() || ending_; });
    if (copies_.empty()) return;
    // Stays in the queue while it runs. A deque's elements do not move when others are added.
    const Copy& copy = copies_.front();
    lock.unlock();
    hold_.Wait();
    // tidy: the double is harsh by being late, as a GPU is; no test waits for it.
    std::this_thread::sleep_for(std::chrono::microseconds(copy_delay_us_));
    if (context_->broken.load() == CUDA_SUCCESS) {
      const CUresult result = Execute(copy);
      // Nobody waits for a single copy: its error is the context's.
      if (result != CUDA_SUCCESS) context_->broken.store(result);
    }
    lock.lock();
    copies_.pop_front();
    ++done_;
    changed_.notify_all();
  }
}

}  // namespace fake_cuda
