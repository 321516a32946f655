// The part of transfer.h that begins with a block that was read: digests and copies.

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"
#include "daemon/staging/transfer.h"

namespace weightd {

void Transfer::StartZeros(const Block& block, int32_t slot, uint64_t tag, absl::Time now) {
  const absl::Span<std::byte> zeros = pool_.slot(static_cast<uint32_t>(slot));
  std::memset(zeros.data(), 0, block.wanted_bytes());
  if (last_read_time_ == absl::InfinitePast()) last_read_time_ = now;
  InFlight& flight = in_flight_[tag];
  flight.block = block;
  flight.slot = slot;
  StartCopies(flight, tag, now);
}

void Transfer::StartCopies(InFlight& flight, uint64_t tag, absl::Time now) {
  if (copies_in_flight() == 0) last_copy_time_ = now;
  absl::Status status = SubmitCopies(flight, tag);
  if (!status.ok()) Fail(std::move(status));
  EndIfDone(tag);  // nothing of the block may be wanted
}

absl::Status Transfer::SubmitCopies(InFlight& flight, uint64_t tag) {
  const Block& block = flight.block;
  const absl::Span<const std::byte> wanted = WantedBytes(flight);
  absl::Status status;
  for (size_t i = 0; i < copies_.size(); ++i) {
    const auto submit = [&](uint64_t offset, absl::Span<const std::byte> from) {
      if (!status.ok()) return;
      status = copies_[i]->Submit(
          {.to = input_.targets[i].destination, .offset = offset, .from = from, .tag = tag});
      if (status.ok()) ++flight.copies_left;
    };
    if (block.kind != Block::Kind::kScattered) {
      submit(block.destination, wanted);
      continue;
    }
    plan_->pieces().ForEach(block, [&](const BlockPiece& piece) {
      submit(piece.destination, wanted.subspan(piece.block_offset, piece.bytes));
    });
  }
  return status;
}

uint32_t Transfer::copies_in_flight() const {
  uint32_t count = 0;
  for (const auto& queue : copies_) count += queue->in_flight();
  return count;
}

bool Transfer::is_working() const {
  return copies_in_flight() > 0 || (digester_ != nullptr && digester_->pending() > 0);
}

void Transfer::OnCopied(uint64_t tag, absl::Time now) {
  last_copy_time_ = now;
  --in_flight_.find(tag)->second.copies_left;
  EndIfDone(tag);
}

void Transfer::OnDigested(uint64_t tag, absl::Time now) {
  InFlight& flight = in_flight_.find(tag)->second;
  flight.is_digesting = false;
  if (status_.ok() && std::exchange(flight.must_copy, false)) return StartCopies(flight, tag, now);
  EndIfDone(tag);
}

void Transfer::PollDigests(absl::Duration timeout, absl::Time now) {
  if (digester_ == nullptr || digester_->pending() == 0) return;
  std::vector<uint64_t> tags;
  absl::Status status = digester_->Poll(timeout, [&](uint64_t tag) { tags.push_back(tag); });
  // First: what is reported with an error is not decrypted.
  if (!status.ok()) Fail(std::move(status));
  for (const uint64_t tag : tags) OnDigested(tag, now);
}

void Transfer::Poll(absl::Duration timeout, absl::Duration stall_timeout, absl::Time now) {
  PollDigests(copies_in_flight() > 0 ? absl::ZeroDuration() : timeout, now);
  if (copies_in_flight() > 0) PollCopies(timeout, stall_timeout, now);
  CheckWaits(stall_timeout, now);
}

// Others have them all, and give none back: their kernel or their GPU may hang.
void Transfer::CheckWaits(absl::Duration stall_timeout, absl::Time now) {
  const auto check = [&](absl::Time since, absl::string_view what, absl::string_view fix) {
    const absl::Duration waited = now - since;
    if (!status_.ok() || waited < stall_timeout) return;
    Fail(ErrorWithReason(
        absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
        absl::StrCat("stage to ", TargetsText(), ": no ", what, " within ",
                     absl::FormatDuration(waited), "; look at what is stuck", fix)));
  };
  check(no_slot_time_, "staging buffer became free", ", or give more with staging.slot_count");
  check(no_share_time_, "read could be begun, others having all that may be in flight,", "");
}

void Transfer::OnNoShare(absl::Time now) {
  if (next_.has_value() && reads_in_flight_ == 0) no_share_time_ = std::min(no_share_time_, now);
}

std::string Transfer::TargetsText() const {
  return absl::StrJoin(input_.targets, ", ", [](std::string* out, const StageTarget& target) {
    *out += target.device->info().id;
  });
}

void Transfer::PollCopies(absl::Duration timeout, absl::Duration stall_timeout, absl::Time now) {
  absl::Status status;
  for (const auto& queue : copies_) {
    if (queue->in_flight() == 0 || !status.ok()) continue;
    status = queue->Poll(timeout, [&](uint64_t tag) { OnCopied(tag, now); });
    timeout = absl::ZeroDuration();
  }
  const absl::Duration waited = now - last_copy_time_;
  if (status.ok() && copies_in_flight() > 0 && waited >= stall_timeout) {
    status = ErrorWithReason(
        absl::StatusCode::kDeadlineExceeded, Reason::kDeviceFailed,
        absl::StrCat("copy to ", TargetsText(), ": no progress for ", absl::FormatDuration(waited),
                     " with ", copies_in_flight(), " in flight"));
  }
  if (status.ok()) return;
  Fail(std::move(status));
}

absl::Status Transfer::FinishCopies() {
  absl::Status first;
  for (const auto& queue : copies_) {
    if (absl::Status status = queue->Finish(); !status.ok() && first.ok())
      first = std::move(status);
  }
  return first;
}

}  // namespace weightd
