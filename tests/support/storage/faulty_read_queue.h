#ifndef WEIGHTD_TESTS_SUPPORT_STORAGE_FAULTY_READ_QUEUE_H_
#define WEIGHTD_TESTS_SUPPORT_STORAGE_FAULTY_READ_QUEUE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "daemon/storage/read_queue.h"

namespace weightd::testing {

// Faults by the number of the read, in the order of Submit, from 1. Legal is what a volume or an
// engine can do to a caller that keeps the rules: end a read with an error, hand wrong bytes back
// as success (a bad disk, cable or cache; only digests can tell), or break as a whole.
struct QueueFaults {
  std::map<uint64_t, absl::Status> fail = {};    // the read ends with this
  std::map<uint64_t, uint64_t> flip = {};        // one bit of the byte at this position is wrong
  std::map<uint64_t, absl::Status> refuse = {};  // Submit says this
  std::optional<uint64_t> break_after = {};      // Poll fails once this many reads were handed back
  absl::Status broken = absl::UnavailableError("read queue broken by the test");
};

// Any ReadQueue, with faults. Thread-compatible.
class FaultyReadQueue final : public ReadQueue {
 public:
  FaultyReadQueue(std::unique_ptr<ReadQueue> queue, QueueFaults faults)
      : queue_(std::move(queue)), faults_(std::move(faults)) {}

  absl::Status Submit(const ReadRequest& request) override;
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(const ReadDone&)> done) override;
  uint32_t in_flight() const override { return queue_->in_flight(); }
  uint32_t stuck() const override { return queue_->stuck(); }
  int wake_descriptor() const override { return queue_->wake_descriptor(); }
  ReadEngine engine() const override { return queue_->engine(); }
  const Warnings& fallbacks() const override { return queue_->fallbacks(); }

 private:
  const std::unique_ptr<ReadQueue> queue_;
  const QueueFaults faults_;
  std::map<uint64_t, ReadRequest> reads_;  // in flight, by number, which is the tag inside
  uint64_t submitted_count_ = 0;
  uint64_t done_count_ = 0;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_STORAGE_FAULTY_READ_QUEUE_H_
