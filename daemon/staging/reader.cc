#include "daemon/staging/reader.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"
#include "daemon/staging/copy_run.h"
#include "daemon/storage/read_request.h"

namespace weightd {
namespace {

// How long a round may wait: so late a new job, a cancel or the end is seen while nothing happens.
constexpr absl::Duration kRoundWait = absl::Milliseconds(50);

}  // namespace

absl::StatusOr<std::unique_ptr<Reader>> Reader::Create(const ReaderOptions& options,
                                                       StagingPool& pool,
                                                       ReadQueueFactory make_queue) {
  std::unique_ptr<Reader> reader(new Reader(options, pool, std::move(make_queue)));
  ASSIGN_OR_RETURN(std::unique_ptr<ReadQueue> queue, reader->make_queue_());
  reader->engine_ = queue->engine();
  reader->fallbacks_ = queue->fallbacks();
  reader->loop_ = std::make_unique<ReadLoop>(options.loop, std::move(queue));
  if (options.on_wait) return reader;
  try {  // std::thread has no other way to say that the limit of threads is reached
    reader->thread_ = std::thread([raw = reader.get()] { raw->Work(); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("start a reader: ", error.code().message(),
                     "; raise the limit of processes (pids.max, ulimit -u)"));
  }
  return reader;
}

Reader::~Reader() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<StageOutcome> Reader::Run(const StageInput& input) {
  ASSIGN_OR_RETURN(std::vector<std::unique_ptr<CopyQueue>> copies, MakeCopyQueues(input.targets));
  auto transfer = std::make_unique<Transfer>(input, options_.block_bytes, pool_, std::move(copies));
  const auto task = std::make_shared<Task>(input, std::move(transfer));
  {
    absl::MutexLock lock(&mu_);
    incoming_.push_back(task);
    if (!options_.on_wait) mu_.Await(absl::Condition(&task->ended));
  }
  if (options_.on_wait) WorkUntilEnded(*task);
  absl::StatusOr<StageOutcome> outcome = task->transfer->Finish();
  if (!outcome.ok()) return outcome;
  SetEngine(input.files, *outcome);
  outcome->fallbacks.insert(outcome->fallbacks.begin(), fallbacks_.begin(), fallbacks_.end());
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

void Reader::Work() {
  RunOnNode(options_.numa_node);
  while (WorkOnce()) {
  }
  loop_.reset();  // a ring with reads in flight is destroyed by its owner
}

bool Reader::WorkOnce() {
  if (!TakeIncoming()) return false;
  if (!HaveLoop()) return true;
  std::vector<Transfer*> ended;
  if (absl::Status status = loop_->Step(kRoundWait, ended); !status.ok()) BreakLoop(status);
  End(ended);
  return true;
}

void Reader::WorkUntilEnded(const Task& task) {
  while (true) {
    bool mine = false;
    {
      absl::MutexLock lock(&mu_);
      if (task.ended) return;
      mine = !std::exchange(worked_on_, true);
    }
    if (mine) {
      WorkOnce();
      absl::MutexLock lock(&mu_);
      worked_on_ = false;
    }
    options_.on_wait();
  }
}

bool Reader::TakeIncoming() {
  std::vector<std::shared_ptr<Task>> incoming;
  {
    absl::MutexLock lock(&mu_);
    if (running_.empty()) mu_.Await(absl::Condition(this, &Reader::HasIncoming));
    incoming.swap(incoming_);
    if (incoming.empty() && running_.empty()) return false;
  }
  for (std::shared_ptr<Task>& task : incoming) {
    if (loop_ != nullptr) loop_->Add(task->transfer.get());
    running_.push_back(std::move(task));
  }
  return true;
}

bool Reader::HaveLoop() {
  if (loop_ != nullptr) return true;
  absl::StatusOr<std::unique_ptr<ReadQueue>> queue = make_queue_();
  std::vector<Transfer*> all;
  for (const auto& task : running_) all.push_back(task->transfer.get());
  if (queue.ok()) {
    loop_ = std::make_unique<ReadLoop>(options_.loop, *std::move(queue));
    for (Transfer* transfer : all) loop_->Add(transfer);
    return true;
  }
  for (Transfer* transfer : all) transfer->Fail(queue.status());
  End(all);
  return false;
}

void Reader::BreakLoop(const absl::Status& status) {
  // Reads that could not be ended still write to the destinations: destroying the queue waits for
  // them. On a volume that hangs that takes for ever, so whoever waits is told first.
  for (const auto& task : running_) {
    if (task->input.on_stuck) task->input.on_stuck(status);
  }
  const std::vector<Transfer*> all = loop_->Break();
  loop_.reset();
  End(all);
}

void Reader::End(const std::vector<Transfer*>& ended) {
  if (ended.empty()) return;
  absl::MutexLock lock(&mu_);
  std::erase_if(running_, [&](const std::shared_ptr<Task>& task) {
    if (std::find(ended.begin(), ended.end(), task->transfer.get()) == ended.end()) return false;
    task->ended = true;
    return true;
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
