#ifndef WEIGHTD_DAEMON_STORAGE_SPLIT_READ_QUEUE_H_
#define WEIGHTD_DAEMON_STORAGE_SPLIT_READ_QUEUE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/storage/read_queue.h"

namespace weightd {

// Several queues as one. Which of them reads is decided by each file and read by itself:
//
//   the file is FUSE's, or its file system cannot be told   threads, as many as of the pread engine
//   buffered                                                threads, as many as processors
//   direct                                                  io_uring
//
// A buffered read of what the page cache holds is a copy, which io_uring would make on the one
// thread that submits it. Thread-compatible.
class SplitReadQueue final : public ReadQueue {
 public:
  using MakeQueue = std::function<absl::StatusOr<std::unique_ptr<ReadQueue>>()>;

  // All have the depth `depth` and the same slots, and a wake_descriptor(). `make_fuse` makes that
  // of FUSE's files, when the first of them is read.
  SplitReadQueue(std::unique_ptr<ReadQueue> direct, std::unique_ptr<ReadQueue> buffered,
                 MakeQueue make_fuse, uint32_t depth);

  absl::Status Submit(const ReadRequest& request) override;
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(const ReadDone&)> done) override;
  uint32_t in_flight() const override;
  uint32_t stuck() const override;
  // That of direct reads.
  ReadEngine engine() const override { return queues_.front()->engine(); }
  const Warnings& fallbacks() const override { return fallbacks_; }
  // None: there are several, see Poll.
  int wake_descriptor() const override { return -1; }

 private:
  absl::StatusOr<ReadQueue*> QueueFor(const ReadRequest& request);
  absl::Status PollAll(absl::Duration timeout, absl::FunctionRef<void(const ReadDone&)> done);

  std::vector<std::unique_ptr<ReadQueue>> queues_;  // direct, buffered, FUSE's once there is one
  const MakeQueue make_fuse_;
  const uint32_t depth_;
  Warnings fallbacks_;
  absl::Status broken_;  // the first error of any; stops all
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_SPLIT_READ_QUEUE_H_
