#include "daemon/staging/read_loop.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"

namespace weightd {
namespace {

// How long to wait for one thing while another, which wakes nobody, may happen.
constexpr absl::Duration kShortWait = absl::Milliseconds(1);

}  // namespace

ReadLoop::ReadLoop(const ReadLoopOptions& options, std::unique_ptr<ReadQueue> queue,
                   Executor& executor)
    : options_(options), queue_(std::move(queue)), executor_(executor), depth_(options.depth_max) {}

void ReadLoop::Add(Transfer* transfer) { transfers_.push_back(transfer); }

bool ReadLoop::TakeShare() {
  if (options_.reads_in_flight == nullptr) return true;
  const uint64_t hanging = std::min<uint64_t>(shares_, queue_->stuck());
  if (!options_.reads_in_flight->TryBegin(shares_ - hanging, hanging)) return false;
  ++shares_;
  return true;
}

void ReadLoop::GiveShare(uint64_t reads) {
  if (options_.reads_in_flight == nullptr) return;
  options_.reads_in_flight->End(reads);
  shares_ -= reads;
}

bool ReadLoop::SubmitOne(Transfer& transfer, uint32_t share, absl::Time now, Waits& waits) {
  // Those of transfers that were given up are in flight, too.
  if (transfer.reads_in_flight() >= share || queue_->in_flight() >= options_.depth_max) {
    waits.depth = true;
    return false;
  }
  if (!TakeShare()) {
    transfer.OnNoShare(now);
    return false;
  }
  const uint64_t tag = next_tag_++;
  const Transfer::Submitted submitted = transfer.SubmitNext(*queue_, tag, now);
  if (submitted != Transfer::Submitted::kYes) GiveShare(1);
  switch (submitted) {
    case Transfer::Submitted::kYes:
      reading_[tag] = &transfer;
      return true;
    case Transfer::Submitted::kCopies:
      return true;
    case Transfer::Submitted::kNoPages:
    case Transfer::Submitted::kNoFile:
      waits.pages = true;
      return false;
    case Transfer::Submitted::kNotYet:
      waits.free_at = std::min(waits.free_at, transfer.free_at());
      return false;
    case Transfer::Submitted::kNoSlot:
      waits.slots = true;
      return false;
    case Transfer::Submitted::kNothingLeft:
      return false;
  }
  return false;
}

ReadLoop::Waits ReadLoop::SubmitRound(absl::Time now) {
  Waits waits;
  const auto count = static_cast<uint32_t>(transfers_.size());
  const uint32_t share = std::max(1U, depth_.depth() / std::max(1U, count));
  bool any = true;
  while (any) {
    any = false;
    for (size_t i = 0; i < transfers_.size(); ++i) {
      Transfer& transfer = *transfers_[(first_ + i) % transfers_.size()];
      any = SubmitOne(transfer, share, now, waits) || any;
    }
  }
  if (!transfers_.empty()) first_ = (first_ + 1) % transfers_.size();
  return waits;
}

absl::Duration ReadLoop::WaitFor(const Waits& waits, absl::Duration timeout, absl::Time now) const {
  const bool working = std::any_of(transfers_.begin(), transfers_.end(),
                                   [](const Transfer* t) { return t->is_working(); });
  const bool ended = std::any_of(transfers_.begin(), transfers_.end(),
                                 [](const Transfer* t) { return t->ended(); });
  if (ended) return absl::ZeroDuration();
  const bool reading = queue_->in_flight() > 0;
  // Without anything of ours in flight, the slots are with another reader.
  const bool slots_elsewhere = waits.slots && !working && !reading;
  if (waits.pages || slots_elsewhere || (working && reading)) {
    timeout = std::min(timeout, kShortWait);
  }
  return std::clamp(waits.free_at - now, absl::ZeroDuration(), timeout);
}

absl::Status ReadLoop::PollQueue(absl::Duration timeout) {
  return queue_->Poll(timeout, [&](const ReadDone& done) {
    const auto found = reading_.find(done.tag);
    Transfer& transfer = *found->second;
    if (!done.stuck) {
      reading_.erase(found);
      GiveShare(1);
    }
    transfer.OnRead(done, executor_.SteadyNow());
  });
}

absl::Status ReadLoop::Wait(absl::Duration timeout) {
  if (queue_->in_flight() > 0) return PollQueue(timeout);
  // Nobody waits for what is stuck.
  if (queue_->stuck() > 0) RETURN_IF_ERROR(PollQueue(absl::ZeroDuration()));
  for (Transfer* transfer : transfers_) {
    if (!transfer->is_working()) continue;
    transfer->Poll(timeout, options_.stall_timeout, executor_.SteadyNow());
    return absl::OkStatus();
  }
  executor_.Sleep(timeout);
  return absl::OkStatus();
}

void ReadLoop::TakeEnded(absl::Time now, LoopEnds& ends) {
  std::erase_if(abandoned_, [&](Transfer* transfer) {
    if (!transfer->ended()) return false;
    ends.released.push_back(transfer);
    return true;
  });
  std::erase_if(transfers_, [&](Transfer* transfer) {
    if (transfer->ended()) {
      ends.ended.push_back(transfer);
      return true;
    }
    if (!transfer->ShouldBeAbandoned(now, options_.patience)) return false;
    transfer->Abandon();
    abandoned_.push_back(transfer);
    ends.abandoned.push_back(transfer);
    return true;
  });
  if (transfers_.empty()) {
    first_ = 0;
    depth_.Reset();
  }
}

absl::Status ReadLoop::Step(absl::Duration timeout, LoopEnds& ends) {
  const absl::Time start = executor_.SteadyNow();
  for (Transfer* transfer : transfers_) transfer->CheckCancelled();
  const Waits waits = SubmitRound(start);
  if (absl::Status status = Wait(WaitFor(waits, timeout, start)); !status.ok()) {
    for (auto* list : {&transfers_, &abandoned_}) {
      for (Transfer* transfer : *list) transfer->LoseReads(status);
    }
    reading_.clear();
    return status;
  }
  const absl::Time now = executor_.SteadyNow();
  uint64_t bytes = 0;
  for (Transfer* transfer : transfers_) {
    transfer->Poll(absl::ZeroDuration(), options_.stall_timeout, now);
    transfer->ReportProgress();
    bytes += transfer->TakeBytesRead();
  }
  // Their copies and digests give buffers back.
  for (Transfer* transfer : abandoned_) {
    transfer->Poll(absl::ZeroDuration(), options_.stall_timeout, now);
  }
  depth_.OnBytes(bytes, waits.depth, now);
  TakeEnded(now, ends);
  return absl::OkStatus();
}

std::vector<Transfer*> ReadLoop::Break() {
  queue_.reset();
  GiveShare(shares_);
  std::vector<Transfer*> all = std::exchange(transfers_, {});
  all.insert(all.end(), abandoned_.begin(), abandoned_.end());
  abandoned_.clear();
  return all;
}

}  // namespace weightd
