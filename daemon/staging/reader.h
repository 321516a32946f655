#ifndef WEIGHTD_DAEMON_STAGING_READER_H_
#define WEIGHTD_DAEMON_STAGING_READER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/executor.h"
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
  int numa_node = -1;  // whose processors the thread runs on; -1 for any
};

// The thread that reads one volume for one device: it owns a read queue (a ring is bound to one
// thread) and runs all jobs between the two on it. Thread-safe.
//
// A job whose reads do not come back is abandoned: whoever waits for it is told, and what the reads
// write to is kept (StageInput::keep) until they do. A reader of which the thread itself does not
// come back is left by those who wait for it: see hangs().
class Reader {
 public:
  // Fails when the queue or the thread cannot be made. `pool` and `executor` outlive it.
  static absl::StatusOr<std::unique_ptr<Reader>> Create(const ReaderOptions& options,
                                                        StagingPool& pool,
                                                        ReadQueueFactory make_queue,
                                                        Executor& executor);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  // No Run may be going on. Waits for the reads of what was abandoned.
  ~Reader();

  // Reads everything; returns when the destination holds every byte, moves included, or with the
  // first error. Then nothing writes to the destination any more, unless `abandoned` is set: then
  // reads may, for as long as `input.keep` is held. CANCELLED/CANCELLED soon after
  // `input.cancelled` becomes true; DEADLINE_EXCEEDED/VOLUME_STUCK when a read does not come back
  // for the stall timeout, DEADLINE_EXCEEDED when copies make no progress for it. Called by several
  // threads at once, the jobs share what there is.
  absl::StatusOr<StageOutcome> Run(const StageInput& input, bool* abandoned)
      ABSL_LOCKS_EXCLUDED(mu_);

  // What was abandoned and has not come back.
  std::vector<StuckStage> stuck() const ABSL_LOCKS_EXCLUDED(mu_);
  // Whether its thread did not come back while somebody waited for it, and has not since.
  bool hangs() const ABSL_LOCKS_EXCLUDED(mu_);
  // Nobody waits for it, and nothing of what was abandoned is left.
  bool idle() const ABSL_LOCKS_EXCLUDED(mu_);

  ReadEngine engine() const { return engine_; }
  const Warnings& fallbacks() const { return fallbacks_; }

 private:
  struct Task {
    explicit Task(const StageInput& task_input) : input(task_input) {}
    StageInput input;
    std::unique_ptr<Transfer> transfer;  // the reader's until `ended`
    // Guarded by mu_.
    bool ended = false;      // the transfer is the caller's
    bool abandoned = false;  // the caller is told `status`, the transfer is the reader's
    absl::Status status;
    absl::Time abandoned_time;
    std::vector<std::optional<KeptParts>> kept;  // like the targets, when it was abandoned
    bool keeps_plan = true;                      // likewise
    StuckStage stuck;
  };
  using TaskPtr = std::shared_ptr<Task>;

  Reader(const ReaderOptions& options, StagingPool& pool, ReadQueueFactory make_queue,
         Executor& executor)
      : options_(options), pool_(pool), make_queue_(std::move(make_queue)), executor_(executor) {}
  // Of what was read of `files`, and why it is not that of the queue.
  void SetEngine(absl::Span<const std::shared_ptr<File>> files, StageOutcome& outcome) const;
  // Waits until `task` has ended or was abandoned; abandons it when the thread does not come back.
  void AwaitEnd(const TaskPtr& task) ABSL_LOCKS_EXCLUDED(mu_);
  void AbandonByCaller(const TaskPtr& task, absl::Duration silence)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Work();
  // One round of it; false at the end.
  bool WorkOnce();
  // Waits for something to do; false at the end.
  bool TakeIncoming() ABSL_LOCKS_EXCLUDED(mu_);
  bool HasIncoming() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return stopping_ || !incoming_.empty();
  }
  // Fails all that wait when no queue can be had.
  bool HaveLoop();
  void BreakLoop();
  void End(const LoopEnds& ends) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes the tasks of `transfers` out of `from`.
  static std::vector<TaskPtr> Take(const std::vector<Transfer*>& transfers,
                                   std::vector<TaskPtr>& from);
  // Whoever has the transfer: drops what the task keeps, though others may still know the task.
  static void LetGo(Task& task);
  static void RunOnNode(int node);

  const ReaderOptions options_;
  StagingPool& pool_;
  const ReadQueueFactory make_queue_;
  Executor& executor_;
  ReadEngine engine_ = ReadEngine::kPread;  // fixed once Create() returns
  Warnings fallbacks_;                      // likewise

  // The thread's.
  std::unique_ptr<ReadLoop> loop_;  // none after a queue broke
  std::vector<TaskPtr> running_;
  std::vector<TaskPtr> abandoned_;

  mutable absl::Mutex mu_;  // never held across a read, a copy or a callback
  std::vector<TaskPtr> incoming_ ABSL_GUARDED_BY(mu_);
  std::vector<TaskPtr> stuck_ ABSL_GUARDED_BY(mu_);  // abandoned, by whomever
  absl::Time round_time_ ABSL_GUARDED_BY(mu_);  // the thread's last round began; the executor's
  bool breaking_ ABSL_GUARDED_BY(mu_) = false;  // the thread waits for the end of a queue
  bool hangs_ ABSL_GUARDED_BY(mu_) = false;
  uint32_t callers_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  TaskHandle thread_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_READER_H_
