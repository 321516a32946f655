#ifndef WEIGHTD_TESTS_SUPPORT_STORAGE_MEMORY_READ_QUEUE_H_
#define WEIGHTD_TESTS_SUPPORT_STORAGE_MEMORY_READ_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/storage/read_progress.h"
#include "daemon/storage/read_queue.h"

namespace weightd::testing {

// What goes wrong with one read. Legal is what a kernel may do:
//   - any errno, `times` times, before the read goes on as usual: EIO and ESTALE end it, EAGAIN and
//     EINTR are retried, EINVAL sends a direct read through the page cache;
//   - fewer bytes than asked for, at least one;
//   - no answer at all, or a late one.
// Never: bytes that are not the file's, more than asked for, an answer twice, a write to a buffer
// that was handed back. FaultyReadQueue does wrong bytes.
struct ReadFault {
  int error = 0;
  uint32_t times = 1;
  uint64_t short_bytes = 0;  // the first answer has at most this many; 0 is all
  bool stalls = false;       // until MemoryReadQueueOptions::comes_back
};

struct MemoryReadQueueOptions {
  uint64_t seed = 1;               // of the order of completion
  uint32_t latency_steps_max = 3;  // an answer takes 1 to this many steps
  // By the number of the read, in the order of Submit, from 1.
  std::map<uint64_t, ReadFault> faults = {};
  // Of those that have none there, asked at Submit.
  std::function<ReadFault()> choose_fault = {};
  // Reads that stall are answered while it is true. None: never.
  std::shared_ptr<const std::atomic<bool>> comes_back = {};
};

// A ReadQueue without threads and time: one step per look, and Poll takes as many as it needs
// for the first completion (with a timeout of zero, one). The same seed gives the same order. A
// read that stalls costs no time: when there are no others, Poll counts its timeout as waited.
// Destroying it waits for nothing. Reads files of any Volume.
// Thread-compatible.
class MemoryReadQueue final : public ReadQueue {
 public:
  static absl::StatusOr<std::unique_ptr<ReadQueue>> Create(
      const ReadQueueOptions& options, const MemoryReadQueueOptions& memory_options = {});

  absl::Status Submit(const ReadRequest& request) override;
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(const ReadDone&)> done) override;
  uint32_t in_flight() const override { return in_flight_count_; }
  uint32_t stuck() const override { return stuck_count_; }
  int wake_descriptor() const override { return -1; }
  // It stands for pread, the engine that always works.
  ReadEngine engine() const override { return ReadEngine::kPread; }
  const Warnings& fallbacks() const override { return fallbacks_; }

 private:
  struct Entry {
    ReadProgress progress;
    ReadFault fault;
    uint32_t steps_left = 1;
    bool stuck = false;  // and told so
  };

  MemoryReadQueue(const ReadQueueOptions& options, const MemoryReadQueueOptions& memory_options)
      : options_(options), memory_options_(memory_options), random_(memory_options.seed) {}
  void Step();
  int64_t Result(Entry& entry);
  uint32_t Latency();
  bool IsStalled(const Entry& entry) const;
  bool OnlyStalled() const;
  void TellStuck();

  const ReadQueueOptions options_;
  const MemoryReadQueueOptions memory_options_;
  const Warnings fallbacks_;
  std::mt19937_64 random_;
  std::list<Entry> entries_;
  std::vector<ReadDone> finished_;
  uint64_t submitted_count_ = 0;
  uint32_t in_flight_count_ = 0;
  uint32_t stuck_count_ = 0;
  absl::Duration stalled_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_STORAGE_MEMORY_READ_QUEUE_H_
