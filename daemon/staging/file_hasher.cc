#include "daemon/staging/file_hasher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr uint64_t kPartBytes = kMiB;

}  // namespace

FileHasher::FileHasher(const Manifest& manifest, absl::Span<const std::shared_ptr<File>> files,
                       std::vector<FileSum> sums)
    : manifest_(manifest), files_(files), sums_(std::move(sums)) {}

bool FileHasher::IsKnown(uint32_t shard_index) const {
  return std::any_of(sums_.begin(), sums_.end(),
                     [&](const FileSum& sum) { return sum.shard_index == shard_index; });
}

absl::Status FileHasher::HashRange(const File& file, uint64_t begin, uint64_t end) {
  std::vector<std::byte> buffer(std::min(kPartBytes, end - begin));
  while (begin < end) {
    const auto part = absl::MakeSpan(buffer).subspan(0, end - begin);
    RETURN_IF_ERROR(file.ReadAt(begin, part));
    hasher_->Update(part);
    begin += part.size();
  }
  return absl::OkStatus();
}

absl::Status FileHasher::Begin(uint32_t shard_index) {
  if (!IsKnown(shard_index)) return absl::OkStatus();
  hasher_.emplace();
  return HashRange(*files_[shard_index], 0, manifest_.shards[shard_index].data_offset);
}

absl::Status FileHasher::End(uint32_t shard_index) {
  next_shard_ = shard_index + 1;
  passed_bytes_ = 0;
  if (!hasher_.has_value()) return absl::OkStatus();
  const ShardEntry& shard = manifest_.shards[shard_index];
  RETURN_IF_ERROR(
      HashRange(*files_[shard_index], shard.data_offset + shard.data_bytes, shard.file_bytes));
  const Sha256 sha256 = hasher_->Finish();
  hasher_.reset();
  ++checked_;
  for (const FileSum& sum : sums_) {
    if (sum.shard_index != shard_index || sum.sha256 == sha256) continue;
    return ErrorWithReason(
        absl::StatusCode::kDataLoss, Reason::kIntegrityFailed,
        absl::StrCat("verify ", shard.path, ": its SHA-256 is ", DigestText(sha256), ", ",
                     sum.source, " says ", DigestText(sum.sha256)));
  }
  return absl::OkStatus();
}

absl::Status FileHasher::CompareEmptyBefore(uint32_t shard_index) {
  while (next_shard_ < shard_index) {
    const uint32_t empty = next_shard_;
    RETURN_IF_ERROR(Begin(empty));
    RETURN_IF_ERROR(End(empty));
  }
  return absl::OkStatus();
}

absl::Status FileHasher::Update(uint32_t shard_index, absl::Span<const std::byte> bytes) {
  RETURN_IF_ERROR(CompareEmptyBefore(shard_index));
  if (passed_bytes_ == 0) RETURN_IF_ERROR(Begin(shard_index));
  if (hasher_.has_value()) hasher_->Update(bytes);
  passed_bytes_ += bytes.size();
  const bool is_whole = passed_bytes_ == manifest_.shards[shard_index].data_bytes;
  return is_whole ? End(shard_index) : absl::OkStatus();
}

absl::Status FileHasher::Finish() {
  return CompareEmptyBefore(static_cast<uint32_t>(manifest_.shards.size()));
}

}  // namespace weightd
