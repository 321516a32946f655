#include "tests/support/storage/memory_read_queue.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/status_macros.h"
#include "daemon/storage/read_request.h"
#include "tests/support/storage/memory_volume.h"

namespace weightd::testing {

absl::StatusOr<std::unique_ptr<ReadQueue>> MemoryReadQueue::Create(
    const ReadQueueOptions& options, const MemoryReadQueueOptions& memory_options) {
  RETURN_IF_ERROR(options.Validate());
  return std::unique_ptr<ReadQueue>(new MemoryReadQueue(options, memory_options));
}

absl::Status MemoryReadQueue::Submit(const ReadRequest& request) {
  if (in_flight_count_ == options_.depth) return QueueFullError(options_.depth);
  RETURN_IF_ERROR(ValidateReadRequest(request, options_.slots));
  RETURN_IF_ERROR(CheckNotTooManyStuck(request, stuck_count_, options_));
  ++in_flight_count_;
  ++submitted_count_;
  Entry entry{.progress = ReadProgress(request, options_.retries_max),
              .fault = {},
              .steps_left = Latency()};
  const auto fault = memory_options_.faults.find(submitted_count_);
  if (fault != memory_options_.faults.end()) {
    entry.fault = fault->second;
  } else if (memory_options_.choose_fault) {
    entry.fault = memory_options_.choose_fault();
  }
  entries_.push_back(std::move(entry));
  return absl::OkStatus();
}

absl::Status MemoryReadQueue::Poll(absl::Duration timeout,
                                   absl::FunctionRef<void(const ReadDone&)> done) {
  do {
    Step();
  } while (finished_.empty() && timeout > absl::ZeroDuration() && !entries_.empty() &&
           !OnlyStalled());
  if (finished_.empty() && in_flight_count_ > 0 && OnlyStalled()) {
    stalled_ += timeout;
    if (stalled_ >= options_.stall_timeout) TellStuck();
  }
  std::vector<ReadDone> finished = std::exchange(finished_, {});
  std::shuffle(finished.begin(), finished.end(), random_);
  for (const ReadDone& read : finished) {
    CountDone(read, in_flight_count_, stuck_count_);
    done(read);
  }
  return absl::OkStatus();
}

void MemoryReadQueue::TellStuck() {
  stalled_ = absl::ZeroDuration();
  for (Entry& entry : entries_) {
    if (!IsStalled(entry) || entry.stuck) continue;
    entry.stuck = true;
    finished_.push_back(
        StuckRead(entry.progress.request(), entry.progress.part().offset, options_.stall_timeout));
  }
}

void MemoryReadQueue::Step() {
  for (auto it = entries_.begin(); it != entries_.end();) {
    Entry& entry = *it;
    if (IsStalled(entry) || --entry.steps_left > 0) {
      ++it;
      continue;
    }
    if (entry.stuck) {
      // Late as it comes, the answer is still written.
      entry.progress.OnResult(Result(entry));
      finished_.push_back({.tag = entry.progress.request().tag, .returned = true});
      it = entries_.erase(it);
      continue;
    }
    entry.progress.OnResult(Result(entry));
    if (entry.progress.finished()) {
      finished_.push_back(entry.progress.TakeDone());
      it = entries_.erase(it);
    } else {
      entry.steps_left = Latency();
      ++it;
    }
  }
}

bool MemoryReadQueue::IsStalled(const Entry& entry) const {
  return entry.fault.stalls &&
         (memory_options_.comes_back == nullptr || !memory_options_.comes_back->load());
}

int64_t MemoryReadQueue::Result(Entry& entry) {
  ReadFault& fault = entry.fault;
  if (fault.error != 0 && fault.times > 0) {
    --fault.times;
    return -fault.error;
  }
  const ReadRequest& request = entry.progress.request();
  const ReadPart& part = entry.progress.part();
  uint64_t length = part.length;
  if (fault.short_bytes > 0) length = std::min(length, std::exchange(fault.short_bytes, 0));
  const absl::Span<std::byte> buffer = request.buffer.subspan(part.position, length);
  if (const auto* file = dynamic_cast<const MemoryFile*>(request.file)) {
    return file->Pread(part.offset, buffer);
  }
  // Another kind of file knows its end only as an error, so it must not be asked to pass it.
  const uint64_t size_bytes = request.file->identity().size_bytes;
  const uint64_t there = std::min<uint64_t>(buffer.size(), size_bytes - part.offset);
  const absl::Status status = request.file->ReadAt(part.offset, buffer.first(there));
  return status.ok() ? static_cast<int64_t>(there) : -int64_t{EIO};
}

uint32_t MemoryReadQueue::Latency() {
  return static_cast<uint32_t>(1 + random_() % std::max(memory_options_.latency_steps_max, 1U));
}

bool MemoryReadQueue::OnlyStalled() const {
  return std::all_of(entries_.begin(), entries_.end(),
                     [this](const Entry& entry) { return IsStalled(entry); });
}

}  // namespace weightd::testing
