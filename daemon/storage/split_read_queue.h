#ifndef WEIGHTD_DAEMON_STORAGE_SPLIT_READ_QUEUE_H_
#define WEIGHTD_DAEMON_STORAGE_SPLIT_READ_QUEUE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "daemon/storage/read_queue.h"

namespace weightd {

// Two queues as one: direct reads through io_uring, buffered ones by threads with pread(2). A
// buffered read of what the page cache holds is a copy, which io_uring would make on the one thread
// that submits it. Thread-compatible.
class SplitReadQueue final : public ReadQueue {
 public:
  // Both have the depth `depth` and the same slots, and a wake_descriptor().
  SplitReadQueue(std::unique_ptr<ReadQueue> direct, std::unique_ptr<ReadQueue> buffered,
                 uint32_t depth);

  absl::Status Submit(const ReadRequest& request) override;
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(const ReadDone&)> done) override;
  uint32_t in_flight() const override { return direct_->in_flight() + buffered_->in_flight(); }
  // That of direct reads.
  ReadEngine engine() const override { return direct_->engine(); }
  const std::vector<std::string>& fallbacks() const override { return fallbacks_; }
  // None: there are two, see Poll.
  int wake_descriptor() const override { return -1; }

 private:
  absl::Status PollBoth(absl::Duration timeout, absl::FunctionRef<void(const ReadDone&)> done);

  const std::unique_ptr<ReadQueue> direct_;
  const std::unique_ptr<ReadQueue> buffered_;
  const uint32_t depth_;
  const std::vector<std::string> fallbacks_;
  absl::Status broken_;  // the first error of either; stops both
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_SPLIT_READ_QUEUE_H_
