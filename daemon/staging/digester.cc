#include "daemon/staging/digester.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/format/text.h"

namespace weightd {

Digester::Digester(const Manifest& manifest, const BlockPieces& pieces,
                   absl::Span<const std::shared_ptr<File>> files, DigestOptions options,
                   Executor& executor)
    : manifest_(manifest), pieces_(pieces), options_(std::move(options)), executor_(executor) {
  if (!options_.file_sums.empty()) file_hasher_.emplace(manifest, files, options_.file_sums);
  if (options_.mode != VerifyMode::kNone) outcome_.digests.resize(manifest.tensors.size());
  absl::StatusOr<TaskHandle> thread = executor_.Start("digester", [this] { Loop(); });
  // Where no more threads are allowed, the reader's does it too.
  if (thread.ok()) thread_ = *std::move(thread);
}

Digester::~Digester() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.Join();
}

bool Digester::CanWork() const { return stopping_ || waiting_.contains(next_); }

void Digester::Loop() {
  absl::MutexLock lock(&mu_);
  while (true) {
    executor_.Await(mu_, absl::Condition(this, &Digester::CanWork), absl::InfiniteDuration());
    if (stopping_) return;
    WorkOnNext();
  }
}

void Digester::Submit(uint64_t sequence, const Block& block, absl::Span<std::byte> wanted,
                      absl::Span<std::byte> copy_to, uint64_t tag) {
  ++pending_;
  absl::MutexLock lock(&mu_);
  if (!status_.ok()) {
    done_.push_back(tag);
    return;
  }
  waiting_[sequence] = {.block = block, .wanted = wanted, .copy_to = copy_to, .tag = tag};
  if (thread_.joinable()) return;
  while (waiting_.contains(next_)) WorkOnNext();
}

void Digester::WorkOnNext() {
  const auto found = waiting_.find(next_);
  const Item item = found->second;
  waiting_.erase(found);
  ++next_;
  mu_.Unlock();
  absl::Status status = Work(item);
  mu_.Lock();
  done_.push_back(item.tag);
  if (status.ok() || !status_.ok()) return;
  status_ = std::move(status);
  for (const auto& [sequence, dropped] : waiting_) done_.push_back(dropped.tag);
  waiting_.clear();
}

absl::Status Digester::Poll(absl::Duration timeout, absl::FunctionRef<void(uint64_t tag)> done) {
  std::vector<uint64_t> tags;
  absl::Status status;
  {
    absl::MutexLock lock(&mu_);
    if (pending_ > 0 && timeout > absl::ZeroDuration()) {
      const auto any = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !done_.empty(); };
      executor_.Await(mu_, absl::Condition(&any), timeout);
    }
    tags = std::exchange(done_, {});
    status = status_;
  }
  pending_ -= static_cast<uint32_t>(tags.size());
  for (const uint64_t tag : tags) done(tag);
  return status;
}

absl::Status Digester::Work(const Item& item) {
  absl::Status status;
  // Before anything is decrypted.
  if (file_hasher_.has_value()) status = file_hasher_->Update(item.block.shard_index, item.wanted);
  pieces_.ForEach(item.block, [&](const BlockPiece& piece) {
    if (!status.ok()) return;
    status = WorkOn(piece, item.wanted.subspan(piece.block_offset, piece.bytes), item.copy_to);
  });
  return status;
}

absl::Status Digester::Annotated(const absl::Status& status, size_t tensor_index) const {
  const TensorEntry& tensor = manifest_.tensors[tensor_index];
  const ShardEntry& shard = manifest_.shards[tensor.shard_index];
  return Annotate(status, absl::StrCat("verify ", shard.path, ": tensor ", Quoted(tensor.name),
                                       " at ", shard.data_offset + tensor.offset));
}

void Digester::Begin(size_t tensor_index) {
  const TensorEntry& tensor = manifest_.tensors[tensor_index];
  const StoredTensor* stored = manifest_.stored.empty() ? nullptr : &manifest_.stored[tensor_index];
  current_.tensor_index = tensor_index;
  current_.hasher.emplace(options_.mode, stored != nullptr ? &stored->hashes : nullptr,
                          tensor.file_bytes());
  current_.decryptor.reset();
  if (stored == nullptr || !stored->encryption.has_value()) return;
  current_.decryptor = std::make_unique<TensorDecryptor>(*stored->encryption, tensor.file_bytes(),
                                                         options_.keys[tensor.shard_index]);
}

absl::Status Digester::End() {
  const size_t index = current_.tensor_index;
  RETURN_IF_ERROR(Annotated(current_.hasher->Check(), index));
  outcome_.hashes_checked += current_.hasher->checked();
  if (!outcome_.digests.empty()) outcome_.digests[index] = current_.hasher->digest();
  return absl::OkStatus();
}

absl::Status Digester::WorkOn(const BlockPiece& piece, absl::Span<std::byte> bytes,
                              absl::Span<std::byte> copy_to) {
  if (piece.tensor_offset == 0) Begin(piece.tensor_index);
  if (current_.decryptor != nullptr) {
    RETURN_IF_ERROR(Annotated(current_.decryptor->Decrypt(bytes), piece.tensor_index));
  }
  absl::Span<std::byte> to = copy_to;
  if (!to.empty()) to = to.subspan(piece.destination, piece.bytes);
  for (size_t done = 0; done < bytes.size(); done += TensorHasher::kPartBytes) {
    const absl::Span<const std::byte> part = bytes.subspan(done, TensorHasher::kPartBytes);
    current_.hasher->Update(part);
    if (!to.empty()) std::memcpy(to.data() + done, part.data(), part.size());
  }
  const uint64_t tensor_bytes = manifest_.tensors[piece.tensor_index].file_bytes();
  return piece.tensor_offset + piece.bytes == tensor_bytes ? End() : absl::OkStatus();
}

absl::StatusOr<DigestOutcome> Digester::Finish() {
  {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(status_);
  }
  // No block has a piece of these.
  for (size_t i = 0; i < manifest_.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest_.tensors[i];
    if (tensor.file_bytes() > 0) continue;
    Begin(i);
    RETURN_IF_ERROR(End());
    if (tensor.is_meta && !outcome_.digests.empty()) {
      outcome_.digests[i] = DigestOfZeros(tensor.bytes);
    }
  }
  if (file_hasher_.has_value()) {
    RETURN_IF_ERROR(file_hasher_->Finish());
    outcome_.files_checked = file_hasher_->checked();
  }
  return std::move(outcome_);
}

}  // namespace weightd
