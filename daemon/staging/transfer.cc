#include "daemon/staging/transfer.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// In place of a slot: the block is read straight into the destination.
constexpr int32_t kInPlace = -1;
// Files that are opened ahead of their reads.
constexpr uint32_t kFilesAhead = 4;

}  // namespace

Transfer::Transfer(const StageInput& input, uint64_t block_bytes, StagingPool& pool,
                   std::vector<std::unique_ptr<CopyQueue>> copies, Executor& executor)
    : input_(input),
      pool_(pool),
      holder_(pool.Join(VolumesOf(input.files))),
      executor_(executor),
      copies_(std::move(copies)),
      plan_(std::in_place, *input.manifest, *input.layout, block_bytes),
      next_(plan_->Next()),
      rate_(input.bytes_per_second_max) {
  const auto& shards = input_.manifest->shards;
  const bool is_encrypted = std::any_of(shards.begin(), shards.end(),
                                        [](const ShardEntry& shard) { return shard.is_encrypted; });
  if (input_.digest.mode != VerifyMode::kNone || is_encrypted) {
    digester_ = std::make_unique<Digester>(*input_.manifest, plan_->pieces(), input_.files,
                                           input_.digest, executor_);
  }
}

Transfer::~Transfer() {
  digester_.reset();  // it works on buffers
  for (const auto& [tag, flight] : in_flight_) GiveSlot(flight.slot);
  if (!abandoned_) pool_.Leave(holder_);
}

std::optional<int32_t> Transfer::TakeSlotFor(const Block& block) {
  if (block.congruent && input_.targets.size() == 1) return kInPlace;
  if (slots_held_ >= pool_.share(holder_)) return std::nullopt;
  const std::optional<uint32_t> slot = pool_.TakeSlot(holder_);
  if (!slot.has_value()) return std::nullopt;
  ++slots_held_;
  no_slot_time_ = absl::InfiniteFuture();
  return static_cast<int32_t>(*slot);
}

void Transfer::GiveSlot(int32_t slot) {
  if (slot == kInPlace) return;
  --slots_held_;
  pool_.GiveSlot(static_cast<uint32_t>(slot));
}

absl::StatusOr<bool> Transfer::FileReady(uint32_t shard_index) {
  const auto end = static_cast<uint32_t>(
      std::min<size_t>(input_.files.size(), size_t{shard_index} + 1 + kFilesAhead));
  // In their order: a file that waits for descriptors must not wait for those after it.
  for (uint32_t i = shard_index; i < end; ++i) {
    OpenFile& file = open_files_[i];
    if (file.use == nullptr) file.use = input_.files[i]->Use();
    const absl::StatusOr<bool> ready = file.use->Ready();
    if (i == shard_index && (!ready.ok() || !*ready)) return ready;
    if (!ready.ok() || !*ready) break;
  }
  return true;
}

void Transfer::LetFilesGo() {
  const uint32_t first = next_.has_value() ? next_->shard_index : UINT32_MAX;
  std::erase_if(open_files_,
                [&](const auto& entry) { return entry.second.reads == 0 && entry.first < first; });
}

ModeChoice Transfer::ChoiceFor(const Block& block) {
  const std::pair window(block.shard_index, block.file_offset / kWindowBytes);
  if (window_ != window) {
    window_ = window;
    window_choice_ = ChooseMode(*input_.files[block.shard_index], block.file_offset);
  }
  return window_choice_;
}

absl::StatusOr<bool> Transfer::DestinationReady(const Block& block) const {
  // A direct read writes whole pages.
  const uint64_t end = AlignUp(block.destination_end, kCongruenceModulus);
  for (const StageTarget& target : input_.targets) {
    ASSIGN_OR_RETURN(const uint64_t ready, target.destination->ready_bytes());
    if (std::min(end, target.destination->bytes()) > ready) return false;
  }
  return true;
}

ReadRequest Transfer::RequestFor(const Block& block, int32_t slot, const ModeChoice& choice,
                                 uint64_t tag) const {
  const uint64_t capacity = AlignUp(block.read_bytes, kCongruenceModulus);
  ReadRequest request;
  request.file = input_.files[block.shard_index].get();
  request.offset = block.file_offset;
  request.length = block.read_bytes;
  request.mode = choice.mode;
  if (slot >= 0 && pool_.IsShared(static_cast<uint32_t>(slot))) request.slot = slot;
  request.tag = tag;
  request.buffer = slot < 0 ? input_.targets.front().destination->host_memory().subspan(
                                  block.destination - block.skip_bytes, capacity)
                            : pool_.slot(static_cast<uint32_t>(slot)).subspan(0, capacity);
  return request;
}

Transfer::Submitted Transfer::SubmitNext(ReadQueue& reads, uint64_t tag, absl::Time now) {
  no_share_time_ = absl::InfiniteFuture();
  if (!status_.ok() || !next_.has_value()) return Submitted::kNothingLeft;
  if (now < rate_.free_at()) return Submitted::kNotYet;
  const Block block = *next_;
  const absl::StatusOr<bool> ready = DestinationReady(block);
  if (!ready.ok()) {
    Fail(ready.status());
    return Submitted::kNothingLeft;
  }
  if (!*ready) return Submitted::kNoPages;
  if (block.kind != Block::Kind::kZeros) {
    const absl::StatusOr<bool> open = FileReady(block.shard_index);
    if (!open.ok()) {
      Fail(open.status());
      return Submitted::kNothingLeft;
    }
    if (!*open) return Submitted::kNoFile;
  }
  const std::optional<int32_t> slot = TakeSlotFor(block);
  if (!slot.has_value()) {
    if (absl::Status status = pool_.CheckNotAllStuck(holder_); !status.ok()) {
      Fail(std::move(status));
      return Submitted::kNothingLeft;
    }
    if (slots_held_ == 0) no_slot_time_ = std::min(no_slot_time_, now);
    return Submitted::kNoSlot;
  }
  if (start_time_ == absl::InfinitePast()) start_time_ = now;
  if (block.kind == Block::Kind::kZeros) {
    StartZeros(block, *slot, tag, now);
    next_ = status_.ok() ? plan_->Next() : std::nullopt;
    return Submitted::kCopies;
  }
  const ModeChoice choice = ChoiceFor(block);
  if (absl::Status status = reads.Submit(RequestFor(block, *slot, choice, tag)); !status.ok()) {
    GiveSlot(*slot);
    Fail(std::move(status));
    return Submitted::kNothingLeft;
  }
  rate_.Take(block.read_bytes, now);
  InFlight& flight = in_flight_[tag];
  flight.block = block;
  flight.slot = *slot;
  flight.choice = choice;
  flight.sequence = next_sequence_++;
  flight.is_reading = true;
  ++reads_in_flight_;
  ++open_files_[block.shard_index].reads;
  next_ = plan_->Next();
  return Submitted::kYes;
}

void Transfer::OnRead(const ReadDone& done, absl::Time now) {
  const auto entry = in_flight_.find(done.tag);
  InFlight& flight = entry->second;
  if (done.stuck) {
    --reads_in_flight_;
    ++reads_stuck_;
    if (flight.slot >= 0) pool_.MarkStuck(static_cast<uint32_t>(flight.slot));
    if (!first_stuck_.has_value()) {
      first_stuck_ = {flight.block.shard_index, flight.block.file_offset};
    }
    return Fail(done.status);
  }
  flight.is_reading = false;
  --open_files_[flight.block.shard_index].reads;
  LetFilesGo();
  if (done.returned) {
    --reads_stuck_;
    return EndIfDone(done.tag);
  }
  --reads_in_flight_;
  last_read_time_ = now;
  outcome_.read_retries += done.retries;
  if (done.buffered_instead) flight.choice.reason = ModeReason::kNoDirect;
  if (!done.status.ok()) Fail(done.status);
  if (done.status.ok()) bytes_read_ += flight.block.read_bytes;
  if (status_.ok() && digester_ != nullptr) {
    flight.is_digesting = true;
    const absl::Span<std::byte> copy_to = DigesterCopiesTo(flight);
    flight.must_copy = flight.slot >= 0 && copy_to.empty() && IsEncrypted(flight.block);
    digester_->Submit(flight.sequence, flight.block, WantedBytes(flight), copy_to, done.tag);
    if (!copy_to.empty()) return;
  }
  if (status_.ok() && flight.slot >= 0 && !flight.must_copy) {
    return StartCopies(flight, done.tag, now);
  }
  EndIfDone(done.tag);
}

absl::Span<std::byte> Transfer::DigesterCopiesTo(const InFlight& flight) const {
  const bool goes_many_ways = flight.block.kind == Block::Kind::kScattered;
  if (flight.slot < 0 || !goes_many_ways || input_.targets.size() > 1) return {};
  return input_.targets.front().destination->host_memory();
}

bool Transfer::IsEncrypted(const Block& block) const {
  return input_.manifest->shards[block.shard_index].is_encrypted;
}

absl::Span<std::byte> Transfer::WantedBytes(const InFlight& flight) const {
  const Block& block = flight.block;
  if (flight.slot < 0) {
    return input_.targets.front().destination->host_memory().subspan(block.destination,
                                                                     block.wanted_bytes());
  }
  return pool_.slot(static_cast<uint32_t>(flight.slot))
      .subspan(block.skip_bytes, block.wanted_bytes());
}

void Transfer::EndIfDone(uint64_t tag) {
  const auto entry = in_flight_.find(tag);
  const InFlight& flight = entry->second;
  if (flight.copies_left > 0 || flight.is_digesting) return;
  if (status_.ok()) CountInPlace(flight);
  GiveSlot(flight.slot);
  in_flight_.erase(entry);
}

void Transfer::CountInPlace(const InFlight& flight) {
  const uint64_t bytes = flight.block.wanted_bytes();
  bytes_done_ += bytes;
  if (flight.block.kind == Block::Kind::kZeros) return;
  switch (flight.choice.reason) {
    case ModeReason::kNotCached:
    case ModeReason::kCacheUnknown:
      outcome_.direct_bytes += bytes;
      return;
    case ModeReason::kCached:
      outcome_.cached_bytes += bytes;
      return;
    case ModeReason::kNoDirect:
      outcome_.buffered_bytes += bytes;
      return;
  }
}

void Transfer::Fail(absl::Status status) {
  if (!status_.ok()) return;
  status_ = std::move(status);
  failed_time_ = executor_.SteadyNow();
  next_.reset();
}

void Transfer::CheckCancelled() {
  if (!input_.cancelled->load(std::memory_order_relaxed)) return;
  Fail(ErrorWithReason(absl::StatusCode::kCancelled, Reason::kCancelled,
                       "stage: cancelled while reading"));
}

void Transfer::LoseReads(const absl::Status& status) {
  Fail(status);
  reads_in_flight_ = 0;
  reads_stuck_ = 0;
}

bool Transfer::ShouldBeAbandoned(absl::Time now, absl::Duration patience) const {
  if (status_.ok() || reads_in_flight_ + reads_stuck_ == 0) return false;
  return reads_stuck_ > 0 || now - failed_time_ >= patience;
}

void Transfer::Abandon() {
  if (std::exchange(abandoned_, true)) return;
  pool_.Leave(holder_);
}

void Transfer::AddKept(const InFlight& flight, size_t target, KeptParts& parts) const {
  if (flight.is_reading) {
    if (flight.slot < 0) parts.push_back(RequestFor(flight.block, -1, flight.choice, 0).buffer);
    return;  // what a slot holds goes nowhere any more
  }
  const Block& block = flight.block;
  const absl::Span<std::byte> memory = input_.targets[target].destination->host_memory();
  if (block.kind != Block::Kind::kScattered) {
    parts.push_back(memory.subspan(block.destination, block.wanted_bytes()));
    return;
  }
  plan_->pieces().ForEach(block, [&](const BlockPiece& piece) {
    parts.push_back(memory.subspan(piece.destination, piece.bytes));
  });
}

std::vector<std::optional<KeptParts>> Transfer::Kept() const {
  std::vector<std::optional<KeptParts>> kept;
  for (size_t i = 0; i < input_.targets.size(); ++i) {
    std::optional<KeptParts>& parts = kept.emplace_back();
    if (input_.targets[i].destination->host_memory().empty()) {
      if (copies_[i]->in_flight() == 0) parts.emplace();
      continue;
    }
    parts.emplace();
    for (const auto& [tag, flight] : in_flight_) AddKept(flight, i, *parts);
  }
  return kept;
}

bool Transfer::LetPlanGo() {
  const bool reads_alone = std::all_of(in_flight_.begin(), in_flight_.end(),
                                       [](const auto& flight) { return flight.second.is_reading; });
  if (status_.ok() || !reads_alone || is_working()) return false;
  digester_.reset();
  plan_.reset();
  input_.manifest = nullptr;
  input_.layout = nullptr;
  input_.keep_plan.reset();
  return true;
}

StuckStage Transfer::stuck() const {
  StuckStage stuck;
  stuck.model = input_.model;
  stuck.root = input_.root;
  stuck.reads = reads_in_flight_ + reads_stuck_;
  const std::vector<std::optional<KeptParts>> kept = Kept();
  for (size_t i = 0; i < kept.size(); ++i) {
    if (!kept[i].has_value()) stuck.bytes += input_.targets[i].destination->bytes();
    for (const auto& part : kept[i].value_or(KeptParts())) stuck.bytes += part.size();
  }
  std::optional<std::pair<uint32_t, uint64_t>> place = first_stuck_;
  for (const auto& [tag, flight] : in_flight_) {
    if (place.has_value()) break;
    if (flight.is_reading) place = {flight.block.shard_index, flight.block.file_offset};
  }
  if (place.has_value()) {
    stuck.file = input_.files[place->first]->path();
    stuck.offset = place->second;
    stuck.identity = input_.files[place->first]->identity();
    stuck.hangs = first_stuck_.has_value();
  }
  return stuck;
}

void Transfer::ReportProgress() {
  if (bytes_done_ == bytes_reported_ || abandoned_) return;
  bytes_reported_ = bytes_done_;
  if (input_.on_progress) input_.on_progress(bytes_done_);
}

bool Transfer::ended() const {
  if (reads_in_flight_ + reads_stuck_ > 0) return false;
  // What a failed transfer still copies is waited for in Finish().
  return !status_.ok() || (!next_.has_value() && !is_working());
}

absl::StatusOr<StageOutcome> Transfer::Finish() {
  if (!status_.ok()) {
    // The first error is the one to tell; a device that cannot even end its copies adds its own.
    const absl::Status ended = FinishCopies();
    if (ended.ok() || ended.message() == status_.message()) return status_;
    return Annotate(status_, absl::StrCat("what was in flight could not be ended (",
                                          ended.message(), ") after an error"));
  }
  if (bytes_done_ != plan_->total_bytes()) {
    return absl::InternalError(absl::StrCat("stage: ", bytes_done_, " of ", plan_->total_bytes(),
                                            " bytes are accounted for"));
  }
  for (size_t i = 0; i < copies_.size(); ++i) {
    for (const TensorMove& move : input_.layout->moves) {
      RETURN_IF_ERROR(
          copies_[i]->Move(*input_.targets[i].destination, move.from, move.to, move.bytes));
    }
  }
  RETURN_IF_ERROR(FinishCopies());
  if (digester_ != nullptr) {
    ASSIGN_OR_RETURN(outcome_.digest, digester_->Finish());
  }
  outcome_.tensors_moved = input_.layout->moves.size();
  if (start_time_ != absl::InfinitePast()) {
    outcome_.read_time = last_read_time_ - start_time_;
    outcome_.copy_time = executor_.SteadyNow() - last_read_time_;
  }
  if (outcome_.buffered_bytes > 0) {
    outcome_.fallbacks.push_back(
        "read through the page cache: the file system refuses O_DIRECT, or wants an alignment "
        "above 4096");
  }
  return std::move(outcome_);
}

}  // namespace weightd
