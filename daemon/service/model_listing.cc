#include "daemon/service/model_listing.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"
#include "daemon/catalog/model_name.h"
#include "daemon/service/metadata_pieces.h"
#include "daemon/service/pages.h"
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

// The volume holds other files than the newest of `copies` that follows it.
bool IsChanged(const std::vector<const CopyInfo*>& copies, const Checkpoint& checkpoint) {
  if (!checkpoint.problem.empty()) return false;
  const CopyInfo* newest = nullptr;
  for (const CopyInfo* info : copies) {
    if (info->content == nullptr || !info->asked_revision.empty()) continue;
    if (newest == nullptr || info->id > newest->id) newest = info;
  }
  return newest != nullptr && newest->content->identities != checkpoint.identities;
}

// The copies in memory, by model.
using CopiesByModel = std::map<std::string, std::vector<const CopyInfo*>>;
CopiesByModel GroupByModel(const std::vector<CopyInfo>& copies) {
  CopiesByModel by_model;
  for (const CopyInfo& info : copies) by_model[info.model].push_back(&info);
  return by_model;
}

void AddCopies(const Residency& residency, const std::vector<const CopyInfo*>& copies,
               v1::Model& model) {
  for (const CopyInfo* info : copies) AddGeneration(residency, *info, model);
}

// A model that no root has: of the copy that it is told from; null while all are being staged.
const CopyContent* FillFromCopies(const std::string& name,
                                  const std::vector<const CopyInfo*>& copies, v1::Model& model) {
  model.set_name(name);
  for (const CopyInfo* info : copies) {
    if (info->content == nullptr) continue;
    FillFromContent(*info->content, model);
    return info->content.get();
  }
  return nullptr;
}

// Whether `ref` is about the copy. A name alone is about all of them.
bool IsOf(const ModelRef& ref, const CopyInfo& info) {
  if (ref.generation.has_value()) return info.id.value() == *ref.generation;
  return ref.revision.empty() || NamesRevision(ref.revision, info);
}

bool Contains(const std::vector<RootLook>& looks, const std::vector<FileIdentity>& identities) {
  for (const RootLook& look : looks) {
    for (const Checkpoint& checkpoint : look.scan->checkpoints) {
      if (checkpoint.identities == identities) return true;
    }
  }
  return false;
}

}  // namespace

const CatalogRows::Row* CatalogRows::Find(const std::string& model) const {
  const auto found = rows.find(model);
  return found == rows.end() ? nullptr : &found->second;
}

bool CatalogRows::HasLost(const std::string& model, const CopyContent& content) const {
  for (const RootLook& look : looks) {
    if (look.scan == nullptr || !look.problem.ok()) return false;
  }
  if (Find(model) != nullptr) return false;
  // What a directory that holds too much has in it is not listed.
  for (size_t slash = model.find('/'); slash != std::string::npos;
       slash = model.find('/', slash + 1)) {
    const Row* const above = Find(model.substr(0, slash));
    if (above != nullptr && !above->model.problem().empty()) return false;
  }
  return !Contains(looks, content.identities);
}

std::shared_ptr<const CatalogRows> MakeCatalogRows(std::vector<RootLook> looks) {
  auto made = std::make_shared<CatalogRows>();
  made->looks = std::move(looks);
  for (size_t i = 0; i < made->looks.size(); ++i) {
    const std::shared_ptr<const RootScan>& scan = made->looks[i].scan;
    if (scan == nullptr) continue;
    for (const Checkpoint& checkpoint : scan->checkpoints) {
      const auto [at, is_new] = made->rows.try_emplace(checkpoint.model);
      if (!is_new) continue;
      at->second.checkpoint = &checkpoint;
      at->second.root = i;
      ToProto(checkpoint, at->second.model);
    }
  }
  return made;
}

std::shared_ptr<const SortedManifest> SortByName(std::shared_ptr<const Manifest> manifest) {
  auto sorted = std::make_shared<SortedManifest>();
  sorted->by_name.resize(manifest->tensors.size());
  std::iota(sorted->by_name.begin(), sorted->by_name.end(), uint32_t{0});
  std::sort(sorted->by_name.begin(), sorted->by_name.end(), [&](uint32_t a, uint32_t b) {
    return manifest->tensors[a].name < manifest->tensors[b].name;
  });
  sorted->manifest = std::move(manifest);
  return sorted;
}

void AddScannedRoots(const std::vector<RootLook>& looks,
                     google::protobuf::RepeatedPtrField<v1::ScannedRoot>& to) {
  for (const RootLook& look : looks) {
    v1::ScannedRoot& root = *to.Add();
    root.set_root(AbsolutePath(look.root));
    if (look.scan != nullptr) ToProto(look.scan->time, *root.mutable_scan_time());
    if (look.problem.ok()) continue;
    root.set_problem(std::string(look.problem.message()));
    root.set_reason(std::string(ReasonWord(look.problem)));
  }
}

void ListModels(const CatalogRows& rows, const Residency& residency,
                v1::ListModelsResponse& response) {
  const std::vector<CopyInfo> copies = residency.List("");
  CopiesByModel by_model = GroupByModel(copies);
  auto next = by_model.begin();
  const auto add_gone_before = [&](const std::string* name) {
    for (; next != by_model.end() && (name == nullptr || next->first < *name); ++next) {
      v1::Model& model = *response.add_models();
      const CopyContent* const content = FillFromCopies(next->first, next->second, model);
      model.set_removed(content != nullptr && rows.HasLost(next->first, *content));
      AddCopies(residency, next->second, model);
    }
  };
  response.mutable_models()->Reserve(static_cast<int>(rows.rows.size() + by_model.size()));
  for (const auto& [name, row] : rows.rows) {
    add_gone_before(&name);
    v1::Model& model = *response.add_models();
    model = row.model;
    if (next == by_model.end() || next->first != name) continue;
    model.set_changed(IsChanged(next->second, *row.checkpoint));
    AddCopies(residency, next->second, model);
    ++next;
  }
  add_gone_before(nullptr);
  AddScannedRoots(rows.looks, *response.mutable_roots());
}

void ListResident(const Residency& residency, const std::string& only,
                  google::protobuf::RepeatedPtrField<v1::Model>& to) {
  const std::vector<CopyInfo> copies = residency.List(only);
  for (const auto& [name, infos] : GroupByModel(copies)) {
    v1::Model& model = *to.Add();
    FillFromCopies(name, infos, model);
    AddCopies(residency, infos, model);
  }
}

std::shared_ptr<const CopyContent> ContentToTell(const Residency& residency, const ModelRef& ref) {
  for (const CopyInfo& info : residency.List(ref.model)) {
    if (info.content == nullptr || !IsOf(ref, info)) continue;
    if (!info.superseded || ref.generation.has_value()) return info.content;
  }
  return nullptr;
}

absl::StatusOr<size_t> ParsePageToken(const std::string& token) {
  size_t begin = 0;
  if (token.empty() || absl::SimpleAtoi(token, &begin)) return begin;
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         "page_token is not one that this daemon gave");
}

void DescribeModel(const CatalogRows& rows, const Residency& residency, const ModelRef& ref,
                   const std::shared_ptr<const CopyContent>& content, const SortedManifest& tensors,
                   size_t begin, const v1::GetModelRequest& request,
                   v1::GetModelResponse& response) {
  const std::vector<CopyInfo> copies = residency.List(ref.model);
  std::vector<const CopyInfo*> infos;
  for (const CopyInfo& info : copies) {
    if (IsOf(ref, info)) infos.push_back(&info);
  }
  v1::Model& model = *response.mutable_model();
  if (const CatalogRows::Row* row = rows.Find(ref.model); row != nullptr) {
    model = row->model;
    model.set_changed(IsChanged(infos, *row->checkpoint));
  } else {
    model.set_name(ref.model);
    if (content != nullptr) {
      FillFromContent(*content, model);
      model.set_removed(rows.HasLost(ref.model, *content));
    }
  }
  AddCopies(residency, infos, model);

  const Manifest& manifest = *tensors.manifest;
  response.set_tensor_count(manifest.tensors.size());
  response.set_tensor_bytes(manifest.tensor_bytes());
  if (begin == 0) FillMetadata(manifest.metadata, response);
  const size_t size = std::min(request.page_size(), kPageSizeMax);
  if (size == 0) return;
  const size_t count = tensors.by_name.size();
  const size_t end = begin < count ? std::min(count, begin + size) : count;
  for (size_t i = begin; i < end; ++i) {
    const uint32_t index = tensors.by_name[i];
    v1::Tensor& to = *response.add_tensors();
    ToProto(manifest, index, to);
    if (content == nullptr) continue;
    to.set_offset(content->layout->tensor_offsets[index]);
    if (content->digests != nullptr) to.set_xxh3_128(DigestText((*content->digests)[index]));
  }
  if (end < count) response.set_next_page_token(absl::StrCat(end));
  CutTensors(begin, response);
}

absl::Status CheckOfVolume(const CatalogRows::Row& row, const ModelRef& ref) {
  const std::string& current = row.model.revision();
  CopyInfo of_volume;
  of_volume.revision = current;
  const bool is_current = !current.empty() && NamesRevision(ref.revision, of_volume);
  if (!ref.generation.has_value() && (ref.revision.empty() || is_current)) return absl::OkStatus();
  return ErrorWithReason(
      absl::StatusCode::kFailedPrecondition, Reason::kModelNotResident,
      absl::StrCat(
          ToString(ref), " is not resident; ",
          ref.generation.has_value()
              ? "a generation that is gone cannot be staged, name the model alone"
              : absl::StrCat("stage it first",
                             current.empty() ? std::string()
                                             : absl::StrCat(", or name the model alone for ",
                                                            current, ", which the volume has"))));
}

absl::Status UnknownModel(const CatalogRows& rows, const std::string& model) {
  std::vector<std::string> names;
  names.reserve(rows.rows.size());
  for (const auto& [name, row] : rows.rows) names.push_back(name);
  const auto add_path = [](std::string* out, const RootLook& look) {
    absl::StrAppend(out, look.root);
  };
  std::string text = absl::StrCat("model ", model, ": no such checkpoint below the roots ",
                                  absl::StrJoin(rows.looks, ", ", add_path));
  const std::vector<std::string> near = NearMisses(model, names);
  if (!near.empty()) absl::StrAppend(&text, "; did you mean ", absl::StrJoin(near, ", "), "?");
  for (const RootLook& look : rows.looks) {
    if (look.problem.ok()) continue;
    absl::StrAppend(&text, "; root ", look.root, ": ", look.problem.message());
  }
  return ErrorWithReason(absl::StatusCode::kNotFound, Reason::kModelNotFound, text,
                         {{"model", model}});
}

}  // namespace weightd
