#ifndef WEIGHTD_DAEMON_DEVICE_CUDA_COPY_QUEUE_H_
#define WEIGHTD_DAEMON_DEVICE_CUDA_COPY_QUEUE_H_

#include "daemon/device/cuda_context.h"

#if WEIGHTD_HAVE_CUDA

#include <deque>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "daemon/device/device.h"

namespace weightd {

// Copies of one job on the GPU's shared stream, one event behind each. The stream is in order, so
// only the oldest event is asked. Waiting is asking again after a short sleep: it has an end even
// when the GPU has none. Thread-compatible.
//
//   Submit/Move -> pending_ -> (event done) -> finished_ -> (Poll) -> reported
class CudaCopyQueue final : public CopyQueue {
 public:
  explicit CudaCopyQueue(CudaContext& context) : context_(context) {}
  CudaCopyQueue(const CudaCopyQueue&) = delete;
  CudaCopyQueue& operator=(const CudaCopyQueue&) = delete;
  ~CudaCopyQueue() override;

  absl::Status Submit(const CopyRequest& request) override;
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(uint64_t tag)> done) override;
  absl::Status Move(Allocation& allocation, uint64_t from, uint64_t to, uint64_t bytes) override;
  absl::Status Finish() override;
  uint32_t in_flight() const override { return copies_pending_ + finished_count(); }

 private:
  struct Pending {
    CUevent event = nullptr;
    std::optional<uint64_t> tag;  // none for a move
  };

  uint32_t finished_count() const { return static_cast<uint32_t>(finished_.size()); }
  // Keeps the first error, which is returned from then on.
  absl::Status Fail(const absl::Status& status);
  absl::StatusOr<CUevent> TakeEvent();
  // Records an event behind what was just put on the stream. The context is current.
  absl::Status Track(std::optional<uint64_t> tag);
  // Moves what is done from pending_ to finished_.
  absl::Status Reap();
  // Reaps until `pending_max` or fewer are pending, or nothing was done for too long.
  absl::Status WaitUntilPending(size_t pending_max);

  CudaContext& context_;
  std::deque<Pending> pending_;       // kCopiesInFlightMax at most, oldest first
  uint32_t copies_pending_ = 0;       // those of pending_ with a tag
  std::vector<uint64_t> finished_;    // tags that Poll has not reported
  std::vector<CUevent> free_events_;  // made once, used again
  absl::Status failed_;
};

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA

#endif  // WEIGHTD_DAEMON_DEVICE_CUDA_COPY_QUEUE_H_
