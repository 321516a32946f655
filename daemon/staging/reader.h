#ifndef WEIGHTD_DAEMON_STAGING_READER_H_
#define WEIGHTD_DAEMON_STAGING_READER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "daemon/staging/read_loop.h"
#include "daemon/staging/stage_input.h"
#include "daemon/staging/staging_pool.h"
#include "daemon/storage/read_queue.h"

namespace weightd {

// Makes a read queue whose slots are the pool's.
using ReadQueueFactory = std::function<absl::StatusOr<std::unique_ptr<ReadQueue>>()>;

struct ReaderOptions {
  ReadLoopOptions loop;
  uint64_t block_bytes = uint64_t{8} << 20;
  int numa_node = -1;                  // whose processors the thread runs on; -1 for any
  std::function<void()> on_wait = {};  // see StagerOptions: if set, there is no thread
};

// The thread that reads one volume for one device: it owns a read queue (a ring is bound to one
// thread) and runs all jobs between the two on it. Thread-safe.
class Reader {
 public:
  // Fails when the queue cannot be made. `pool` outlives it.
  static absl::StatusOr<std::unique_ptr<Reader>> Create(const ReaderOptions& options,
                                                        StagingPool& pool,
                                                        ReadQueueFactory make_queue);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  // No Run may be going on.
  ~Reader();

  // Reads everything; returns when the destination holds every byte, moves included, or with the
  // first error, and then nothing writes to the destination any more. CANCELLED/CANCELLED soon
  // after `input.cancelled` becomes true; DEADLINE_EXCEEDED when reads or copies make no progress
  // for the stall timeout. Called by several threads at once, the jobs share what there is.
  absl::StatusOr<StageOutcome> Run(const StageInput& input) ABSL_LOCKS_EXCLUDED(mu_);

  ReadEngine engine() const { return engine_; }
  const std::vector<std::string>& fallbacks() const { return fallbacks_; }

 private:
  struct Task {
    Task(const StageInput& task_input, std::unique_ptr<Transfer> task_transfer)
        : input(task_input), transfer(std::move(task_transfer)) {}
    const StageInput& input;
    std::unique_ptr<Transfer> transfer;  // the reader's until `ended`
    bool ended = false;                  // guarded by mu_
  };

  Reader(const ReaderOptions& options, StagingPool& pool, ReadQueueFactory make_queue)
      : options_(options), pool_(pool), make_queue_(std::move(make_queue)) {}
  // Of what was read of `files`, and why it is not that of the queue.
  void SetEngine(absl::Span<const std::shared_ptr<File>> files, StageOutcome& outcome) const;
  void Work();
  // One round of it; false at the end.
  bool WorkOnce();
  // Without a thread: does the work, or lets another caller do it, until `task` has ended.
  void WorkUntilEnded(const Task& task) ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for something to do; false at the end.
  bool TakeIncoming() ABSL_LOCKS_EXCLUDED(mu_);
  bool HasIncoming() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return stopping_ || !incoming_.empty();
  }
  // Fails all that wait when no queue can be had.
  bool HaveLoop();
  void BreakLoop(const absl::Status& status);
  void End(const std::vector<Transfer*>& ended) ABSL_LOCKS_EXCLUDED(mu_);
  static void RunOnNode(int node);

  const ReaderOptions options_;
  StagingPool& pool_;
  const ReadQueueFactory make_queue_;
  ReadEngine engine_ = ReadEngine::kPread;  // fixed once Create() returns
  std::vector<std::string> fallbacks_;      // likewise

  std::unique_ptr<ReadLoop> loop_;              // the thread's; none after a queue broke
  std::vector<std::shared_ptr<Task>> running_;  // the thread's

  absl::Mutex mu_;  // never held across a read, a copy or a callback
  std::vector<std::shared_ptr<Task>> incoming_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool worked_on_ ABSL_GUARDED_BY(mu_) = false;  // by a caller
  std::thread thread_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_READER_H_
