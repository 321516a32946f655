#include "daemon/staging/reader.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/staging/copy_run.h"
#include "daemon/storage/read_request.h"

namespace weightd {
namespace {

// How long a round may wait: so late a new job, a cancel or the end is seen while nothing happens.
constexpr absl::Duration kRoundWait = absl::Milliseconds(50);
// How often it is looked whether what was abandoned has come back, while there is nothing else.
constexpr absl::Duration kStuckInterval = absl::Milliseconds(100);
// How often who waits looks whether the thread still makes its rounds.
constexpr absl::Duration kLookInterval = absl::Milliseconds(100);
// A round that takes so much longer than anything in it may, or than who cancels waits, hangs.
constexpr absl::Duration kShortSilence = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<Reader>> Reader::Create(const ReaderOptions& options,
                                                       StagingPool& pool,
                                                       ReadQueueFactory make_queue,
                                                       Executor& executor) {
  std::unique_ptr<Reader> reader(new Reader(options, pool, std::move(make_queue), executor));
  ASSIGN_OR_RETURN(std::unique_ptr<ReadQueue> queue, reader->make_queue_());
  reader->engine_ = queue->engine();
  reader->fallbacks_ = queue->fallbacks();
  reader->loop_ = std::make_unique<ReadLoop>(options.loop, std::move(queue), executor);
  ASSIGN_OR_RETURN(reader->thread_,
                   executor.Start("reader", [raw = reader.get()] { raw->Work(); }));
  return reader;
}

Reader::~Reader() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.Join();
  loop_.reset();  // before what its reads write to
}

absl::StatusOr<StageOutcome> Reader::Run(const StageInput& input, bool* abandoned) {
  ASSIGN_OR_RETURN(std::vector<std::unique_ptr<CopyQueue>> copies, MakeCopyQueues(input.targets));
  const auto task = std::make_shared<Task>(input);
  task->transfer = std::make_unique<Transfer>(task->input, options_.block_bytes, pool_,
                                              std::move(copies), executor_);
  {
    absl::MutexLock lock(&mu_);
    incoming_.push_back(task);
    ++callers_;
  }
  AwaitEnd(task);
  std::vector<std::optional<KeptParts>> kept;
  bool keeps_plan = true;
  absl::Status status;
  {
    absl::MutexLock lock(&mu_);
    --callers_;
    *abandoned = task->abandoned;
    kept = task->kept;
    keeps_plan = task->keeps_plan;
    status = task->status;
  }
  if (*abandoned) {
    if (input.on_abandoned) input.on_abandoned(kept, keeps_plan);
    return status;
  }
  absl::StatusOr<StageOutcome> outcome = task->transfer->Finish();
  LetGo(*task);
  if (!outcome.ok()) return outcome;
  SetEngine(input.files, *outcome);
  for (const Warning& fallback : fallbacks_) outcome->fallbacks.push_back(fallback.text);
  return outcome;
}

void Reader::SetEngine(absl::Span<const std::shared_ptr<File>> files, StageOutcome& outcome) const {
  outcome.engine = engine_;
  const auto others = static_cast<size_t>(std::count_if(
      files.begin(), files.end(),
      [&](const std::shared_ptr<File>& file) { return EngineFor(engine_, *file) != engine_; }));
  if (others == 0) return;
  if (others == files.size()) outcome.engine = ReadEngine::kPread;
  outcome.fallbacks.push_back(absl::StrCat(
      "pread instead of io_uring",
      others == files.size() ? "" : absl::StrCat(" for ", others, " of ", files.size(), " files"),
      ": ", kFuseWithoutRing));
}

// Who waits keeps the deadline, not the thread that works: the kernel may hold that anywhere.
void Reader::AwaitEnd(const TaskPtr& task) {
  const absl::Time start = executor_.SteadyNow();
  absl::MutexLock lock(&mu_);
  const auto over = [&]()
                        ABSL_SHARED_LOCKS_REQUIRED(mu_) { return task->ended || task->abandoned; };
  while (!executor_.Await(mu_, absl::Condition(&over), kLookInterval)) {
    const absl::Duration silence = executor_.SteadyNow() - std::max(start, round_time_);
    const bool is_short = breaking_ || task->input.cancelled->load(std::memory_order_relaxed);
    const absl::Duration patience =
        is_short ? kShortSilence : options_.loop.stall_timeout + kShortSilence;
    if (silence >= patience) return AbandonByCaller(task, silence);
  }
}

void Reader::AbandonByCaller(const TaskPtr& task, absl::Duration silence) {
  hangs_ = true;
  task->abandoned = true;
  task->abandoned_time = executor_.SteadyNow();
  task->kept.resize(task->input.targets.size());
  task->status = task->input.cancelled->load(std::memory_order_relaxed)
                     ? ErrorWithReason(absl::StatusCode::kCancelled, Reason::kCancelled,
                                       "stage: cancelled while reading")
                     : ErrorWithReason(absl::StatusCode::kDeadlineExceeded, Reason::kVolumeStuck,
                                       absl::StrCat("read ", task->input.files.front()->path(),
                                                    " or a file beside it: no answer within ",
                                                    absl::FormatDuration(silence),
                                                    ", the kernel holds the thread that reads"));
  // The transfer is the thread's: only what never changes is read here.
  task->stuck.model = task->input.model;
  task->stuck.root = task->input.root;
  task->stuck.file = task->input.files.front()->path();
  task->stuck.identity = task->input.files.front()->identity();
  task->stuck.hangs = absl::IsDeadlineExceeded(task->status);
  if (task->stuck.hangs) pool_.MarkAllStuck(VolumesOf(task->input.files));
  for (const StageTarget& target : task->input.targets) {
    task->stuck.bytes += target.destination->bytes();
  }
  stuck_.push_back(task);
}

std::vector<StuckStage> Reader::stuck() const {
  const absl::Time now = executor_.SteadyNow();
  absl::MutexLock lock(&mu_);
  std::vector<StuckStage> all;
  for (const TaskPtr& task : stuck_) {
    all.push_back(task->stuck);
    all.back().age = now - task->abandoned_time;
    // One that its caller left since the thread did not come back knows nothing of its reads.
    all.back().hangs = all.back().hangs || all.back().age >= options_.loop.stall_timeout;
  }
  return all;
}

bool Reader::hangs() const {
  absl::MutexLock lock(&mu_);
  return hangs_;
}

bool Reader::idle() const {
  absl::MutexLock lock(&mu_);
  return callers_ == 0 && stuck_.empty() && incoming_.empty();
}

void Reader::Work() {
  RunOnNode(options_.numa_node);
  while (WorkOnce()) {
  }
  loop_.reset();  // a ring with reads in flight is destroyed by its owner
}

bool Reader::WorkOnce() {
  if (!TakeIncoming()) return false;
  if (!HaveLoop()) return true;
  // Where nobody waits there is no hurry: TakeIncoming() has waited.
  const absl::Duration wait = running_.empty() ? absl::ZeroDuration() : kRoundWait;
  LoopEnds ends;
  if (!loop_->Step(wait, ends).ok()) {
    BreakLoop();
  } else {
    End(ends);
  }
  return true;
}

bool Reader::TakeIncoming() {
  std::vector<TaskPtr> incoming;
  {
    absl::MutexLock lock(&mu_);
    const absl::Condition has_incoming(this, &Reader::HasIncoming);
    if (running_.empty() && abandoned_.empty()) {
      executor_.Await(mu_, has_incoming, absl::InfiniteDuration());
    } else if (running_.empty()) {
      // The end too is waited for in such steps, while reads are out.
      const auto has_task = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !incoming_.empty(); };
      executor_.Await(mu_, absl::Condition(&has_task), kStuckInterval);
    }
    round_time_ = executor_.SteadyNow();
    hangs_ = false;
    incoming.swap(incoming_);
    if (incoming.empty() && running_.empty() && abandoned_.empty()) return false;
  }
  for (TaskPtr& task : incoming) {
    if (loop_ != nullptr) loop_->Add(task->transfer.get());
    running_.push_back(std::move(task));
  }
  // Left by their callers while the thread was away.
  absl::MutexLock lock(&mu_);
  for (const TaskPtr& task : running_) {
    if (task->abandoned) task->transfer->Fail(task->status);
  }
  return true;
}

bool Reader::HaveLoop() {
  if (loop_ != nullptr) return true;
  absl::StatusOr<std::unique_ptr<ReadQueue>> queue = make_queue_();
  LoopEnds all;
  for (const TaskPtr& task : running_) all.ended.push_back(task->transfer.get());
  if (queue.ok()) {
    loop_ = std::make_unique<ReadLoop>(options_.loop, *std::move(queue), executor_);
    for (Transfer* transfer : all.ended) loop_->Add(transfer);
    return true;
  }
  for (Transfer* transfer : all.ended) transfer->Fail(queue.status());
  End(all);
  return false;
}

// Reads that could not be ended still write to the destinations: destroying the queue waits for
// them. Whoever waits for a job does not wait long for that (AwaitEnd).
void Reader::BreakLoop() {
  {
    absl::MutexLock lock(&mu_);
    breaking_ = true;
  }
  loop_->Break();
  loop_.reset();
  LoopEnds all;
  for (const TaskPtr& task : running_) all.ended.push_back(task->transfer.get());
  for (const TaskPtr& task : abandoned_) all.released.push_back(task->transfer.get());
  {
    absl::MutexLock lock(&mu_);
    breaking_ = false;
  }
  End(all);
}

std::vector<Reader::TaskPtr> Reader::Take(const std::vector<Transfer*>& transfers,
                                          std::vector<TaskPtr>& from) {
  std::vector<TaskPtr> taken;
  std::erase_if(from, [&](const TaskPtr& task) {
    if (std::find(transfers.begin(), transfers.end(), task->transfer.get()) == transfers.end()) {
      return false;
    }
    taken.push_back(task);
    return true;
  });
  return taken;
}

void Reader::LetGo(Task& task) {
  task.transfer.reset();
  task.input.keep.reset();
}

void Reader::End(const LoopEnds& ends) {
  std::vector<TaskPtr> released = Take(ends.released, abandoned_);
  const std::vector<TaskPtr> ended = Take(ends.ended, running_);
  const std::vector<TaskPtr> abandoned = Take(ends.abandoned, running_);
  for (const TaskPtr& task : abandoned) {
    if (task->transfer->LetPlanGo()) task->input.keep_plan.reset();
  }
  {
    absl::MutexLock lock(&mu_);
    for (const TaskPtr& task : ended) {
      if (task->abandoned) released.push_back(task);
      task->ended = !task->abandoned;
    }
    for (const TaskPtr& task : abandoned) {
      abandoned_.push_back(task);
      if (std::exchange(task->abandoned, true)) continue;  // by its caller
      task->status = task->transfer->status();
      task->kept = task->transfer->Kept();
      task->keeps_plan = task->input.keep_plan != nullptr;
      task->abandoned_time = executor_.SteadyNow();
      stuck_.push_back(task);
    }
    for (const TaskPtr& task : abandoned_) task->stuck = task->transfer->stuck();
  }
  // Ends its copies, and gives back what it kept, before the books say so.
  for (const TaskPtr& task : released) {
    (void)task->transfer->Finish();
    LetGo(*task);
  }
  absl::MutexLock lock(&mu_);
  std::erase_if(stuck_, [&](const TaskPtr& task) {
    return std::find(released.begin(), released.end(), task) != released.end();
  });
}

// The processors of a node are in a list like "0-3,8". Refused or unknown, the thread runs
// anywhere.
void Reader::RunOnNode(int node) {
  if (node < 0) return;
  std::ifstream file(absl::StrCat("/sys/devices/system/node/node", node, "/cpulist"));
  std::string text;
  if (!std::getline(file, text)) return;
  cpu_set_t processors;
  CPU_ZERO(&processors);
  for (const absl::string_view range : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::vector<absl::string_view> ends = absl::StrSplit(range, '-');
    int first = 0;
    int last = 0;
    if (!absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last)) return;
    for (int i = first; i <= last && i < CPU_SETSIZE; ++i)
      CPU_SET(static_cast<size_t>(i), &processors);
  }
  (void)::sched_setaffinity(0, sizeof(processors), &processors);
}

}  // namespace weightd
