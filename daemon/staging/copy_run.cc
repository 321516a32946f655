#include "daemon/staging/copy_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// How long to wait for what nothing tells of: pages that are made, buffers that others have.
constexpr absl::Duration kShortWait = absl::Milliseconds(1);

// Copies from pinned memory in flight: enough to keep the bus busy, few enough to cancel soon.
constexpr size_t kPinnedInFlightMax = 8;

bool AnyHost(absl::Span<const StageTarget> targets) {
  return std::any_of(targets.begin(), targets.end(), [](const StageTarget& target) {
    return target.device->info().kind == DeviceKind::kHost;
  });
}

absl::Status Cancelled() {
  return ErrorWithReason(absl::StatusCode::kCancelled, Reason::kCancelled,
                         "stage: cancelled while copying");
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<CopyQueue>>> MakeCopyQueues(
    absl::Span<const StageTarget> targets) {
  std::vector<std::unique_ptr<CopyQueue>> queues;
  for (const StageTarget& target : targets) {
    ASSIGN_OR_RETURN(std::unique_ptr<CopyQueue> queue, target.device->CreateCopyQueue());
    queues.push_back(std::move(queue));
  }
  return queues;
}

CopyRun::CopyRun(const CopyInput& input, StagingPool& pool, const CopyRunOptions& options,
                 Executor& executor)
    : input_(input),
      pool_(pool),
      holder_(pool.Join({})),
      options_(options),
      executor_(executor),
      host_alone_(input.targets.size() == 1 && AnyHost(input.targets)),
      pinned_(!input.from->pinned_memory().empty() && !AnyHost(input.targets)) {}

CopyRun::~CopyRun() {
  for (const auto& [tag, flight] : in_flight_) GiveSlot(flight);
  pool_.Leave(holder_);
}

void CopyRun::GiveSlot(const InFlight& flight) {
  if (!flight.slot.has_value()) return;
  pool_.GiveSlot(*flight.slot);
  --slots_held_;
}

absl::StatusOr<CopyOutcome> CopyRun::Run() {
  const absl::Time start = executor_.SteadyNow();
  last_progress_ = start;
  ASSIGN_OR_RETURN(queues_, MakeCopyQueues(input_.targets));
  const absl::Status copied = CopyBlocks();
  const absl::Status ended = FinishCopies();
  RETURN_IF_ERROR(copied);
  RETURN_IF_ERROR(ended);
  return CopyOutcome{.bytes = input_.bytes, .copy_time = executor_.SteadyNow() - start};
}

absl::Status CopyRun::CopyBlocks() {
  for (uint64_t offset = 0; offset < input_.bytes; offset += options_.block_bytes) {
    if (input_.cancelled->load(std::memory_order_relaxed)) return Cancelled();
    RETURN_IF_ERROR(CopyBlock(offset, std::min(options_.block_bytes, input_.bytes - offset)));
  }
  return WaitFor("the last copies",
                 [this]() -> absl::StatusOr<bool> { return in_flight_.empty(); });
}

absl::Status CopyRun::CopyBlock(uint64_t offset, uint64_t bytes) {
  RETURN_IF_ERROR(WaitFor("pages of host memory", [&] { return PagesReady(offset + bytes); }));
  if (host_alone_) return CopyToHost(offset, bytes);
  if (pinned_) return CopyPinned(offset, bytes);
  uint32_t slot = 0;
  RETURN_IF_ERROR(WaitFor("a staging buffer", [&] { return TakeSlot(slot); }));
  return CopyThroughBuffer(offset, bytes, slot);
}

absl::Status CopyRun::CopyToHost(uint64_t offset, uint64_t bytes) {
  const absl::Span<std::byte> to = input_.targets.front().destination->host_memory();
  RETURN_IF_ERROR(input_.from->CopyOut(offset, to.subspan(offset, bytes)));
  Progress(bytes);
  return absl::OkStatus();
}

absl::Status CopyRun::CopyPinned(uint64_t offset, uint64_t bytes) {
  RETURN_IF_ERROR(WaitFor("copies to the GPU", [this]() -> absl::StatusOr<bool> {
    return in_flight_.size() < kPinnedInFlightMax;
  }));
  InFlight& flight = in_flight_[offset] = {.slot = std::nullopt, .bytes = bytes};
  return Submit(offset, input_.from->pinned_memory().subspan(offset, bytes), flight);
}

absl::Status CopyRun::CopyThroughBuffer(uint64_t offset, uint64_t bytes, uint32_t slot) {
  InFlight& flight = in_flight_[offset] = {.slot = slot, .bytes = bytes};
  const absl::Span<std::byte> buffer = pool_.slot(slot).subspan(0, bytes);
  RETURN_IF_ERROR(input_.from->CopyOut(offset, buffer));
  return Submit(offset, buffer, flight);
}

absl::Status CopyRun::Submit(uint64_t offset, absl::Span<const std::byte> from, InFlight& flight) {
  for (size_t i = 0; i < queues_.size(); ++i) {
    RETURN_IF_ERROR(queues_[i]->Submit(
        {.to = input_.targets[i].destination, .offset = offset, .from = from, .tag = offset}));
    ++flight.copies_left;
  }
  return PollCopies(absl::ZeroDuration());
}

absl::Status CopyRun::WaitFor(const char* what,
                              absl::FunctionRef<absl::StatusOr<bool>()> condition) {
  while (true) {
    ASSIGN_OR_RETURN(const bool holds, condition());
    if (holds) return absl::OkStatus();
    if (input_.cancelled->load(std::memory_order_relaxed)) return Cancelled();
    const absl::Duration waited = executor_.SteadyNow() - last_progress_;
    if (waited >= options_.stall_timeout) {
      return ErrorWithReason(
          absl::StatusCode::kDeadlineExceeded, Reason::kDeviceFailed,
          absl::StrCat("copy from ", input_.from_device->info().id, ": no progress for ",
                       absl::FormatDuration(waited), ", waiting for ", what));
    }
    if (in_flight_.empty()) {
      executor_.Sleep(kShortWait);
    } else {
      RETURN_IF_ERROR(PollCopies(kShortWait));
    }
  }
}

absl::StatusOr<bool> CopyRun::PagesReady(uint64_t end) const {
  for (const StageTarget& target : input_.targets) {
    ASSIGN_OR_RETURN(const uint64_t ready, target.destination->ready_bytes());
    if (end > ready) return false;
  }
  return true;
}

absl::StatusOr<bool> CopyRun::TakeSlot(uint32_t& slot) {
  if (slots_held_ >= pool_.share(holder_)) return false;
  const std::optional<uint32_t> taken = pool_.TakeSlot(holder_);
  if (!taken.has_value()) return false;
  ++slots_held_;
  slot = *taken;
  return true;
}

absl::Status CopyRun::PollCopies(absl::Duration timeout) {
  for (const auto& queue : queues_) {
    if (queue->in_flight() == 0) continue;
    RETURN_IF_ERROR(queue->Poll(timeout, [this](uint64_t tag) { OnCopied(tag); }));
    timeout = absl::ZeroDuration();
  }
  return absl::OkStatus();
}

void CopyRun::OnCopied(uint64_t tag) {
  const auto entry = in_flight_.find(tag);
  last_progress_ = executor_.SteadyNow();
  if (--entry->second.copies_left > 0) return;
  const uint64_t bytes = entry->second.bytes;
  GiveSlot(entry->second);
  in_flight_.erase(entry);
  Progress(bytes);
}

void CopyRun::Progress(uint64_t bytes) {
  last_progress_ = executor_.SteadyNow();
  bytes_done_ += bytes;
  if (input_.on_progress) input_.on_progress(bytes_done_);
}

absl::Status CopyRun::FinishCopies() {
  absl::Status first;
  for (const auto& queue : queues_) {
    if (absl::Status status = queue->Finish(); !status.ok() && first.ok())
      first = std::move(status);
  }
  return first;
}

}  // namespace weightd
