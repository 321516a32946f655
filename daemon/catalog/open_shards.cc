#include "daemon/catalog/open_shards.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/model_name.h"
#include "daemon/catalog/read_text.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

// After so many missing shards the rest is not looked for: an index costs who writes it one file,
// however many it names, and that can lie in many directories.
constexpr size_t kMissingShardsMax = 64;

absl::Status Invalid(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kDataLoss, Reason::kCheckpointInvalid, message);
}

// The volume's errors without a reason of their own get the one of a file that cannot be read.
absl::Status WithReason(const absl::Status& status) {
  if (status.ok() || GetReason(status).has_value()) return status;
  return ErrorWithReason(status.code(), Reason::kReadFailed, status.message());
}

}  // namespace

absl::StatusOr<std::shared_ptr<const CheckpointIndex>> ReadIndex(const Checkpoint& checkpoint,
                                                                 const CatalogOptions& options) {
  const std::string& path = checkpoint.index_path;
  const auto file = checkpoint.volume->Open(path);
  if (!file.ok()) return WithReason(file.status());
  const FileIdentity& identity = (*file)->identity();
  if (checkpoint.index != nullptr && checkpoint.index->identity == identity) {
    return checkpoint.index;
  }
  const uint64_t bytes = identity.size_bytes;
  if (bytes > kSafetensorsIndexBytesMax) {
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
                           absl::StrCat("read index ", path, ": it has ", bytes, " bytes, at most ",
                                        kSafetensorsIndexBytesMax, " are allowed"));
  }
  auto text = ReadText(**file, 0, bytes);
  if (!text.ok()) return WithReason(text.status());
  auto index = std::make_shared<CheckpointIndex>();
  index->identity = identity;
  ASSIGN_OR_RETURN(index->content, ParseSafetensorsIndex(*std::move(text), path,
                                                         {.tensors_max = options.tensors_max,
                                                          .shards_max = options.shards_max}));
  return index;
}

absl::Status ShardProblem(const Checkpoint& checkpoint, size_t shard, const absl::Status& status) {
  if (!absl::IsNotFound(status)) return WithReason(status);
  const std::string& path = checkpoint.shard_paths[shard];
  if (checkpoint.index == nullptr) {
    return Invalid(absl::StrCat("open ", path, ": no such file, wanted as a shard of ",
                                checkpoint.directory.empty() ? path : checkpoint.directory));
  }
  for (const SafetensorsIndex::Entry& entry : checkpoint.index->content.entries) {
    if (entry.shard_index != shard) continue;
    return Invalid(absl::StrCat("open ", path, ": no such file, but index ", checkpoint.index_path,
                                " names it for tensor ", Quoted(entry.tensor)));
  }
  return Invalid(absl::StrCat("open ", path, ": no such file"));
}

absl::Status NameShards(Checkpoint& checkpoint, const CatalogOptions& options) {
  if (!checkpoint.index_path.empty()) {
    checkpoint.shard_paths.clear();
    ASSIGN_OR_RETURN(checkpoint.index, ReadIndex(checkpoint, options));
    for (const std::string& shard : checkpoint.index->content.shards) {
      checkpoint.shard_paths.push_back(JoinPath(checkpoint.directory, shard));
    }
  }
  if (checkpoint.shard_paths.empty()) {
    return Invalid(checkpoint.problem.empty()
                       ? absl::StrCat("open ", checkpoint.model, ": no weight files")
                       : checkpoint.problem);
  }
  if (checkpoint.shard_paths.size() > options.shards_max) {
    return ErrorWithReason(
        absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
        absl::StrCat("open ", checkpoint.model, ": ", checkpoint.shard_paths.size(),
                     " files, at most ", options.shards_max, " are allowed"));
  }
  return absl::OkStatus();
}

absl::Status LookAtShards(Checkpoint& checkpoint, const CatalogOptions& options) {
  checkpoint.file_bytes = 0;
  checkpoint.identities.clear();
  RETURN_IF_ERROR(NameShards(checkpoint, options));
  if (checkpoint.index != nullptr) checkpoint.volumes.insert(checkpoint.index->identity.device);
  std::vector<FileIdentity> identities;
  absl::Status first_problem;
  size_t missing = 0;
  for (size_t i = 0; i < checkpoint.shard_paths.size(); ++i) {
    const std::string& path = checkpoint.shard_paths[i];
    absl::StatusOr<PathFacts> facts = checkpoint.volume->Stat(path);
    if (facts.ok() && facts->kind != DirEntry::Kind::kFile) {
      facts = ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kCheckpointInvalid,
                              absl::StrCat("open ", path, ": not a regular file but a directory"));
    }
    if (!facts.ok()) {
      first_problem.Update(ShardProblem(checkpoint, i, facts.status()));
      if (++missing < kMissingShardsMax) continue;
      first_problem = Annotate(
          first_problem, absl::StrCat("at least ", missing, " of ", checkpoint.shard_paths.size(),
                                      " files are missing, the first"));
      std::vector<std::string>().swap(checkpoint.shard_paths);  // with its memory
      return first_problem;
    }
    checkpoint.file_bytes += facts->identity.size_bytes;
    identities.push_back(facts->identity);
    checkpoint.volumes.insert(facts->identity.device);
  }
  RETURN_IF_ERROR(first_problem);
  checkpoint.identities = std::move(identities);
  return absl::OkStatus();
}

}  // namespace weightd
