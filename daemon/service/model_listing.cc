#include "daemon/service/model_listing.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/service/proto_convert.h"

namespace weightd {
namespace {

constexpr uint32_t kPageSizeMax = 5000;

// What is known of a model from its resident copy alone: it may be gone from the volume.
void FillFromContent(const CopyContent& content, v1::Model& to) {
  to.set_revision(content.revision);
  to.set_shard_count(static_cast<uint32_t>(content.manifest->shards.size()));
  to.set_file_bytes(content.file_bytes);
}

// How far its job is.
void AddProgress(const std::vector<std::shared_ptr<StageJob>>& jobs, const CopyInfo& info,
                 v1::Generation& to) {
  for (const std::shared_ptr<StageJob>& job : jobs) {
    if (job->id() != info.job) continue;
    const StageSnapshot snapshot = job->snapshot();
    v1::StageModelResponse progress;
    ToProto(snapshot, progress);
    to.set_job_id(progress.job_id());
    to.set_phase(progress.phase());
    to.set_bytes_done(progress.bytes_done());
    to.set_bytes_total(progress.bytes_total());
    to.set_bytes_per_second(progress.bytes_per_second());
  }
}

void AddGeneration(const Residency& residency, const CopyInfo& info, v1::Model& model) {
  v1::Generation& to = *model.add_generations();
  ToProto(info, to);
  if (info.state == ResidencyState::kStaging) AddProgress(residency.JobsFor(info.model), info, to);
}

// The volume holds other files than the newest copy that follows it.
bool IsChanged(const Residency& residency, const Checkpoint& checkpoint) {
  if (!checkpoint.problem.empty()) return false;
  const CopyInfo* newest = nullptr;
  const std::vector<CopyInfo> copies = residency.List(checkpoint.model);
  for (const CopyInfo& info : copies) {
    if (info.content == nullptr || !info.asked_revision.empty()) continue;
    if (newest == nullptr || info.id > newest->id) newest = &info;
  }
  return newest != nullptr && newest->content->identities != checkpoint.identities;
}

// Adds generations to the models they belong to, which appear where the volume did not have them.
void AddGenerations(const Residency& residency, const std::string& only,
                    std::map<std::string, v1::Model>& models) {
  for (const CopyInfo& info : residency.List(only)) {
    v1::Model& model = models[info.model];
    if (model.name().empty()) {
      model.set_name(info.model);
      if (info.content != nullptr) FillFromContent(*info.content, model);
    }
    AddGeneration(residency, info, model);
  }
}

// Where a model's tensors are told from.
struct Described {
  std::optional<OpenedCheckpoint> opened;       // its files, or else
  std::shared_ptr<const CopyContent> resident;  // what is staged

  const Manifest& manifest() const {
    return opened.has_value() ? opened->manifest : *resident->manifest;
  }
};

absl::StatusOr<Described> Describe(const Catalog& catalog, const Residency& residency,
                                   const std::string& name, v1::Model& model) {
  Described described;
  for (const CopyInfo& info : residency.List(name)) {
    AddGeneration(residency, info, model);
    if (info.content != nullptr && !info.superseded && described.resident == nullptr) {
      described.resident = info.content;
    }
  }
  absl::StatusOr<Checkpoint> checkpoint = catalog.Find(name);
  if (checkpoint.ok()) {
    ToProto(*checkpoint, model);
    model.set_changed(IsChanged(residency, *checkpoint));
  }
  if (described.resident != nullptr) {
    model.set_name(name);
    if (!checkpoint.ok()) FillFromContent(*described.resident, model);
    return described;
  }
  if (!checkpoint.ok()) return checkpoint.status();
  ASSIGN_OR_RETURN(described.opened, catalog.Open(*checkpoint));
  return described;
}

absl::StatusOr<size_t> ParsePageToken(const std::string& token) {
  size_t begin = 0;
  if (token.empty() || absl::SimpleAtoi(token, &begin)) return begin;
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         "page_token is not one that this daemon gave");
}

}  // namespace

absl::Status ListModels(const Catalog& catalog, const Residency& residency,
                        const v1::ListModelsRequest& request, v1::ListModelsResponse& response) {
  std::map<std::string, v1::Model> models;
  if (!request.resident_only()) {
    ASSIGN_OR_RETURN(const std::vector<Checkpoint> checkpoints, catalog.List());
    for (const Checkpoint& checkpoint : checkpoints) {
      v1::Model& model = models[checkpoint.model];
      ToProto(checkpoint, model);
      model.set_changed(IsChanged(residency, checkpoint));
    }
  }
  AddGenerations(residency, "", models);
  for (auto& [name, model] : models) *response.add_models() = std::move(model);
  return absl::OkStatus();
}

void ListResident(const Residency& residency, const std::string& only,
                  v1::WatchModelsResponse& response) {
  std::map<std::string, v1::Model> models;
  AddGenerations(residency, only, models);
  for (auto& [name, model] : models) *response.add_models() = std::move(model);
}

absl::Status GetModel(const Catalog& catalog, const Residency& residency,
                      const v1::GetModelRequest& request, v1::GetModelResponse& response) {
  RETURN_IF_ERROR(ValidateModelName(request.model()));
  ASSIGN_OR_RETURN(const size_t begin, ParsePageToken(request.page_token()));
  ASSIGN_OR_RETURN(const Described described,
                   Describe(catalog, residency, request.model(), *response.mutable_model()));
  const Manifest& manifest = described.manifest();

  response.set_tensor_count(manifest.tensors.size());
  response.set_tensor_bytes(manifest.tensor_bytes());
  response.mutable_metadata()->insert(manifest.metadata.begin(), manifest.metadata.end());
  if (request.page_size() == 0) return absl::OkStatus();

  std::vector<size_t> by_name(manifest.tensors.size());
  std::iota(by_name.begin(), by_name.end(), size_t{0});
  std::sort(by_name.begin(), by_name.end(), [&](size_t a, size_t b) {
    return manifest.tensors[a].name < manifest.tensors[b].name;
  });
  const size_t end = std::min(by_name.size(), begin + std::min(request.page_size(), kPageSizeMax));
  for (size_t i = begin; i < end; ++i) {
    v1::Tensor& to = *response.add_tensors();
    ToProto(manifest, by_name[i], to);
    if (described.resident != nullptr) {
      to.set_offset(described.resident->layout->tensor_offsets[by_name[i]]);
      const auto& digests = described.resident->digests;
      if (digests != nullptr) to.set_xxh3_128(DigestText((*digests)[by_name[i]]));
    }
  }
  if (end < by_name.size()) response.set_next_page_token(absl::StrCat(end));
  return absl::OkStatus();
}

}  // namespace weightd
