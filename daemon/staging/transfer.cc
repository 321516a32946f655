#include "daemon/staging/transfer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// How long to wait where nothing else can be done meanwhile: the time that a cancel may take.
constexpr absl::Duration kIdleWait = absl::Milliseconds(100);
// How long to wait for one queue while the other one has something in flight.
constexpr absl::Duration kBusyWait = absl::Milliseconds(1);
// Blocks in flight are finished on an error; the read queue's own stall timeout bounds each.
constexpr absl::Duration kDrainWait = absl::Seconds(1);

}  // namespace

Transfer::Transfer(const StageInput& input, const StagerOptions& options, const StagingPool& pool,
                   ReadQueue& reads, CopyQueue& copies)
    : input_(input),
      options_(options),
      pool_(pool),
      reads_(reads),
      copies_(copies),
      plan_(*input.manifest, *input.layout, options.block_bytes),
      next_(plan_.Next()) {
  for (uint32_t i = pool.slot_count(); i > 0; --i) {
    free_slots_.push_back(static_cast<int32_t>(i) - 1);
  }
}

bool Transfer::CanSubmit() const {
  return next_.has_value() && reads_.in_flight() < options_.depth &&
         (next_->congruent || !free_slots_.empty());
}

absl::Status Transfer::SubmitNext() {
  const Block block = *next_;
  const File& file = *input_.files[block.shard_index];
  ReadRequest request;
  request.file = &file;
  request.offset = block.file_offset;
  request.length = block.read_bytes;
  request.mode = file.direct_alignment() > 0 && file.direct_alignment() <= kCongruenceModulus
                     ? ReadMode::kDirect
                     : ReadMode::kBuffered;
  direct_ = direct_ && request.mode == ReadMode::kDirect;
  request.tag = next_tag_++;
  const uint64_t capacity = AlignUp(block.read_bytes, kCongruenceModulus);
  if (block.congruent) {
    request.buffer =
        input_.destination->host_memory().subspan(block.destination - block.skip_bytes, capacity);
  } else {
    request.slot = free_slots_.back();
    request.buffer = pool_.slot(static_cast<uint32_t>(request.slot)).subspan(0, capacity);
  }
  RETURN_IF_ERROR(reads_.Submit(request));
  if (request.slot >= 0) free_slots_.pop_back();
  in_flight_[request.tag] = {.block = block, .slot = request.slot};
  next_ = plan_.Next();
  return absl::OkStatus();
}

absl::Status Transfer::OnRead(const ReadDone& done) {
  const auto entry = in_flight_.find(done.tag);
  const InFlight flight = entry->second;
  if (done.buffered_instead) direct_ = false;
  if (!done.status.ok() || flight.slot < 0) {
    in_flight_.erase(entry);
    if (flight.slot >= 0) free_slots_.push_back(flight.slot);
    if (done.status.ok()) bytes_done_ += flight.block.wanted_bytes();
    return done.status;
  }
  CopyRequest copy;
  copy.to = input_.destination;
  copy.offset = flight.block.destination;
  copy.from = pool_.slot(static_cast<uint32_t>(flight.slot))
                  .subspan(flight.block.skip_bytes, flight.block.wanted_bytes());
  copy.tag = done.tag;
  return copies_.Submit(copy);
}

absl::Status Transfer::PollReads(absl::Duration timeout) {
  absl::Status first_error;
  const absl::Status polled =
      reads_.Poll(timeout, [&](const ReadDone& done) { first_error.Update(OnRead(done)); });
  first_error.Update(polled);
  return first_error;
}

absl::Status Transfer::PollCopies(absl::Duration timeout) {
  return copies_.Poll(timeout, [&](uint64_t tag) {
    copies_waited_ = absl::ZeroDuration();
    const auto entry = in_flight_.find(tag);
    bytes_done_ += entry->second.block.wanted_bytes();
    free_slots_.push_back(entry->second.slot);
    in_flight_.erase(entry);
  });
}

absl::Status Transfer::Step() {
  while (CanSubmit()) RETURN_IF_ERROR(SubmitNext());
  const bool reading = reads_.in_flight() > 0;
  const bool copying = copies_.in_flight() > 0;
  if (reading) RETURN_IF_ERROR(PollReads(copying ? kBusyWait : kIdleWait));
  if (copies_.in_flight() == 0) return absl::OkStatus();
  if (reading) return PollCopies(absl::ZeroDuration());
  copies_waited_ += kIdleWait;
  RETURN_IF_ERROR(PollCopies(kIdleWait));
  if (copies_waited_ < options_.read_queue.stall_timeout) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kDeadlineExceeded, Reason::kDeviceFailed,
                         absl::StrCat("copy to ", input_.device->info().id, ": no progress for ",
                                      absl::FormatDuration(copies_waited_), " with ",
                                      copies_.in_flight(), " in flight"));
}

absl::Status Transfer::Drain() {
  absl::Status status;
  while (reads_.in_flight() > 0 && status.ok()) {
    status = reads_.Poll(kDrainWait, [](const ReadDone&) {});
  }
  status.Update(copies_.Finish());
  return status;
}

absl::Status Transfer::Run(const std::atomic<bool>& cancelled,
                           absl::FunctionRef<void(uint64_t bytes_done)> progress) {
  absl::Status status;
  uint64_t reported = 0;
  while (status.ok() && (next_.has_value() || !in_flight_.empty())) {
    status = Step();
    if (status.ok() && cancelled.load(std::memory_order_relaxed)) {
      status = ErrorWithReason(absl::StatusCode::kCancelled, Reason::kCancelled,
                               "stage: cancelled while reading");
    }
    if (bytes_done_ != reported) {
      reported = bytes_done_;
      progress(reported);
    }
  }
  if (!status.ok()) {
    // The first error is the one to tell; a queue that cannot even drain adds its own.
    const absl::Status drained = Drain();
    if (drained.ok() || drained.message() == status.message()) return status;
    return Annotate(status, absl::StrCat("what was in flight could not be ended (",
                                         drained.message(), ") after an error"));
  }
  if (bytes_done_ != plan_.total_bytes()) {
    return absl::InternalError(absl::StrCat("stage: ", bytes_done_, " of ", plan_.total_bytes(),
                                            " bytes are accounted for"));
  }
  return absl::OkStatus();
}

}  // namespace weightd
