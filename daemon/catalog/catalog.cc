#include "daemon/catalog/catalog.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/model_name.h"
#include "daemon/catalog/open_shards.h"
#include "daemon/catalog/read_digests.h"
#include "daemon/catalog/read_headers.h"
#include "daemon/catalog/scan.h"

namespace weightd {
namespace {

// Fills in what needs the files: sizes, the index and its shards, what is wrong.
void Describe(Checkpoint& checkpoint, const CatalogOptions& options) {
  const auto files = OpenShards(checkpoint, options);
  if (!files.ok()) {
    checkpoint.problem = std::string(files.status().message());
    return;
  }
  for (const std::shared_ptr<File>& file : *files) {
    checkpoint.identities.push_back(file->identity());
  }
}

// The places where a model of this name would lie. A volume leaves links that lead out of it out
// of its lists; opening one says so.
absl::Status FindOutsideLink(Volume& volume, absl::string_view model) {
  const std::array<std::string, 4> places = {std::string(model),
                                             absl::StrCat(model, ".safetensors"),
                                             absl::StrCat(model, "/model.safetensors"),
                                             absl::StrCat(model, "/model.safetensors.index.json")};
  for (const std::string& place : places) {
    absl::Status status = volume.Open(place).status();
    if (GetReason(status) == Reason::kPathOutsideRoot) return status;
  }
  return absl::OkStatus();
}

absl::Status NotFound(absl::string_view model, const std::vector<std::string>& near) {
  std::string text = absl::StrCat("model ", model, ": no such checkpoint below the roots");
  if (!near.empty()) absl::StrAppend(&text, "; did you mean ", absl::StrJoin(near, ", "), "?");
  return ErrorWithReason(absl::StatusCode::kNotFound, Reason::kModelNotFound, text,
                         {{"model", std::string(model)}});
}

}  // namespace

absl::Status CatalogOptions::Validate() const {
  const auto check = [](absl::string_view name, uint64_t value, uint64_t max) {
    if (value >= 1 && value <= max) return absl::OkStatus();
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                           absl::StrCat("catalog: ", name, " is ", value, ", wanted 1 to ", max));
  };
  RETURN_IF_ERROR(check("depth_max", depth_max, 32));
  RETURN_IF_ERROR(check("entries_max", entries_max, 10'000'000));
  RETURN_IF_ERROR(check("shards_max", shards_max, 65'536));
  RETURN_IF_ERROR(check("tensors_max", tensors_max, 16'000'000));
  return check("header_threads", header_threads, 64);
}

absl::Status OpenedCheckpoint::CheckUnchanged() const {
  for (const std::shared_ptr<File>& file : files) RETURN_IF_ERROR(file->CheckUnchanged());
  return absl::OkStatus();
}

Catalog::Catalog(std::vector<std::shared_ptr<Volume>> volumes, CatalogOptions options)
    : volumes_(std::move(volumes)), options_(options) {}

absl::StatusOr<std::vector<Checkpoint>> Catalog::List() const {
  std::vector<Checkpoint> all;
  absl::flat_hash_set<std::string> models;
  for (const std::shared_ptr<Volume>& volume : volumes_) {
    ASSIGN_OR_RETURN(std::vector<Checkpoint> found, Scan(volume, options_).All());
    for (Checkpoint& checkpoint : found) {
      if (!models.insert(checkpoint.model).second) continue;
      Describe(checkpoint, options_);
      checkpoint.index.reset();
      all.push_back(std::move(checkpoint));
    }
  }
  std::sort(all.begin(), all.end(),
            [](const Checkpoint& a, const Checkpoint& b) { return a.model < b.model; });
  return all;
}

absl::StatusOr<Checkpoint> Catalog::FindRevision(absl::string_view model,
                                                 absl::string_view revision) const {
  for (const std::shared_ptr<Volume>& volume : volumes_) {
    ASSIGN_OR_RETURN(std::vector<Checkpoint> found,
                     Scan(volume, options_).OneRevision(model, revision));
    if (found.empty()) continue;
    Describe(found.front(), options_);
    return std::move(found.front());
  }
  return ErrorWithReason(
      absl::StatusCode::kNotFound, Reason::kModelNotFound,
      absl::StrCat(
          "model ", model, ": no revision ", revision,
          " of it below the roots; only the snapshots of a hub cache have revisions, and a "
          "short one must fit one of them alone"),
      {{"model", std::string(model)}});
}

absl::StatusOr<Checkpoint> Catalog::Find(absl::string_view model,
                                         absl::string_view revision) const {
  RETURN_IF_ERROR(ValidateModelName(model));
  if (!revision.empty()) return FindRevision(model, revision);
  for (const std::shared_ptr<Volume>& volume : volumes_) {
    ASSIGN_OR_RETURN(std::vector<Checkpoint> found, Scan(volume, options_).One(model));
    if (found.empty()) continue;
    Describe(found.front(), options_);
    return std::move(found.front());
  }
  for (const std::shared_ptr<Volume>& volume : volumes_) {
    RETURN_IF_ERROR(FindOutsideLink(*volume, model));
  }
  std::vector<std::string> names;
  for (const std::shared_ptr<Volume>& volume : volumes_) {
    const auto found = Scan(volume, options_).All();
    if (!found.ok()) continue;  // a hint less; what was asked for is known not to be there
    for (const Checkpoint& checkpoint : *found) names.push_back(checkpoint.model);
  }
  return NotFound(model, NearMisses(model, names));
}

absl::StatusOr<OpenedCheckpoint> Catalog::Open(const Checkpoint& checkpoint) const {
  OpenedCheckpoint opened;
  opened.checkpoint = checkpoint;
  ASSIGN_OR_RETURN(opened.files, OpenShards(opened.checkpoint, options_));
  opened.checkpoint.problem.clear();
  const std::shared_ptr<const CheckpointIndex> index = std::move(opened.checkpoint.index);
  const SafetensorsIndex* content = index != nullptr ? &index->content : nullptr;
  ASSIGN_OR_RETURN(ShardHeaders headers, ReadHeaders(opened.files, content, options_));
  ASSIGN_OR_RETURN(opened.manifest,
                   AssembleManifest(opened.checkpoint, std::move(headers), content, options_));
  ASSIGN_OR_RETURN(opened.digests, ReadDigests(opened.checkpoint, opened.manifest, options_));
  return opened;
}

}  // namespace weightd
