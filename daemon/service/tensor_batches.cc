#include "daemon/service/tensor_batches.h"

#include <grpcpp/support/slice.h>

#include <algorithm>
#include <utility>

#include "common/message_limits.h"
#include "daemon/service/proto_convert.h"

namespace weightd {
namespace {

constexpr size_t kTensorOverheadBytes = 100;
constexpr size_t kTablesMax = 256;

}  // namespace

grpc::ByteBuffer ToBytes(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.ByteSizeLong());
  // Of a slice that was just made nobody else knows.
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return {&slice, 1};
}

std::optional<grpc::ByteBuffer> TensorBatches::Next(const CopyContent& content, Place& place) {
  if (place.tensor == content.manifest->tensors.size()) return std::nullopt;
  {
    absl::MutexLock lock(&mu_);
    if (place.batch < kept_.size()) {
      const Batch& batch = kept_[place.batch];
      place = {.batch = place.batch + 1, .tensor = batch.tensors_end, .shared = true};
      return batch.bytes;
    }
  }
  Batch made = Make(content, place.tensor);
  grpc::ByteBuffer bytes = made.bytes;
  const size_t at = std::exchange(place.batch, place.batch + 1);
  place.tensor = made.tensors_end;
  place.shared = false;
  absl::MutexLock lock(&mu_);
  if (at != kept_.size()) return bytes;
  if (budget_->kept_bytes.fetch_add(bytes.Length()) + bytes.Length() <= budget_->bytes_max) {
    kept_bytes_ += bytes.Length();
    kept_.push_back(std::move(made));
    place.shared = true;
  } else {
    budget_->kept_bytes.fetch_sub(bytes.Length());
  }
  return bytes;
}

TensorBatches::Batch TensorBatches::Make(const CopyContent& content, size_t begin) {
  const Manifest& manifest = *content.manifest;
  v1::AttachResponse response;
  v1::TensorBatch& batch = *response.mutable_tensors();
  size_t bytes = 0;
  size_t next = begin;
  for (; next < manifest.tensors.size(); ++next) {
    const TensorEntry& tensor = manifest.tensors[next];
    bytes += tensor.name.size() + tensor.shape.size() * 10 + kTensorOverheadBytes;
    if (bytes > kMessageBytesGoal && next > begin) break;
    v1::Tensor& to = *batch.add_tensors();
    ToProto(manifest, next, to);
    to.set_offset(content.layout->tensor_offsets[next]);
    if (content.digests != nullptr) to.set_xxh3_128(DigestText((*content.digests)[next]));
  }
  return {.bytes = ToBytes(response), .tensors_end = next};
}

size_t TensorBatches::kept_bytes() const {
  absl::MutexLock lock(&mu_);
  return kept_bytes_;
}

TensorBatchCache::TensorBatchCache(size_t bytes_max)
    : budget_(std::make_shared<TensorBatches::Budget>()) {
  budget_->bytes_max = bytes_max;
}

std::shared_ptr<TensorBatches> TensorBatchCache::Of(
    const std::shared_ptr<const CopyContent>& content) {
  std::vector<std::shared_ptr<TensorBatches>> dropped;  // goes after the lock
  absl::MutexLock lock(&mu_);
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.copy == content->copy && entry.content.lock() == content;
  });
  if (found != entries_.end()) {
    std::rotate(entries_.begin(), found, found + 1);
    return entries_.front().batches;
  }
  MakeRoom(dropped);
  entries_.push_front({.copy = content->copy,
                       .content = content,
                       .batches = std::make_shared<TensorBatches>(budget_)});
  return entries_.front().batches;
}

void TensorBatchCache::MakeRoom(std::vector<std::shared_ptr<TensorBatches>>& dropped) {
  std::deque<Entry> kept;
  size_t bytes = 0;
  for (Entry& entry : entries_) {
    bytes += entry.batches->kept_bytes();
    const bool fits = bytes <= budget_->bytes_max / 2 && kept.size() < kTablesMax;
    if (fits && !entry.content.expired()) {
      kept.push_back(std::move(entry));
    } else {
      bytes -= entry.batches->kept_bytes();
      dropped.push_back(std::move(entry.batches));
    }
  }
  entries_ = std::move(kept);
}

}  // namespace weightd
