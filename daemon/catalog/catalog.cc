#include "daemon/catalog/catalog.h"

#include <algorithm>
#include <array>
#include <functional>
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
#include "daemon/catalog/root_scan.h"
#include "daemon/catalog/scan.h"

namespace weightd {
namespace {

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

absl::StatusOr<OpenedCheckpoint> OpenCheckpoint(const Checkpoint& checkpoint,
                                                const CatalogOptions& options) {
  OpenedCheckpoint opened;
  opened.checkpoint = checkpoint;
  RETURN_IF_ERROR(NameShards(opened.checkpoint, options));
  opened.checkpoint.problem.clear();
  const std::shared_ptr<const CheckpointIndex> index = opened.checkpoint.index;
  const SafetensorsIndex* content = index != nullptr ? &index->content : nullptr;
  ASSIGN_OR_RETURN(ShardHeaders headers, ReadHeaders(opened.checkpoint, content, options));
  opened.checkpoint.index.reset();  // large, and done with
  opened.files = std::move(headers.files);
  opened.checkpoint.file_bytes = 0;
  for (const auto& file : opened.files) {
    opened.checkpoint.volumes.insert(file->identity().device);
    opened.checkpoint.file_bytes += file->identity().size_bytes;
  }
  ASSIGN_OR_RETURN(opened.manifest,
                   AssembleManifest(opened.checkpoint, std::move(headers), content, options));
  ASSIGN_OR_RETURN(opened.digests, ReadDigests(opened.checkpoint, opened.manifest, options));
  return opened;
}

VolumeWork OpenWork(const Checkpoint& checkpoint, VolumeUsers users) {
  return VolumeWork(absl::StrCat("open ", checkpoint.model), checkpoint.volumes, std::move(users));
}

absl::Status OpenedCheckpoint::CheckUnchanged() const {
  if (checkpoint.volume == nullptr) return absl::OkStatus();
  return checkpoint.volume->RunNear(
      VolumeWork(absl::StrCat("stat the files of ", checkpoint.model), checkpoint.volumes),
      [files = files](Volume&) {
        for (const std::shared_ptr<File>& file : files) RETURN_IF_ERROR(file->CheckUnchanged());
        return absl::OkStatus();
      });
}

Catalog::Catalog(std::vector<std::shared_ptr<Root>> roots, CatalogOptions options)
    : roots_(std::move(roots)), options_(options) {}

Catalog::Catalog(const std::vector<std::shared_ptr<Volume>>& volumes, CatalogOptions options)
    : options_(options) {
  for (const std::shared_ptr<Volume>& volume : volumes) roots_.push_back(Root::Fixed(volume));
}

absl::StatusOr<std::vector<Checkpoint>> Catalog::List() const {
  std::vector<Checkpoint> all;
  absl::flat_hash_set<std::string> models;
  for (const std::shared_ptr<Root>& root : roots_) {
    ASSIGN_OR_RETURN(const std::shared_ptr<Volume> volume, root->volume());
    ASSIGN_OR_RETURN(VolumeScan found,
                     CallNear<VolumeScan>(*volume, "scan", [volume, options = options_] {
                       return ScanVolume(volume, options);
                     }));
    RETURN_IF_ERROR(found.problem);
    for (Checkpoint& checkpoint : found.checkpoints) {
      if (models.insert(checkpoint.model).second) all.push_back(std::move(checkpoint));
    }
  }
  std::sort(all.begin(), all.end(),
            [](const Checkpoint& a, const Checkpoint& b) { return a.model < b.model; });
  return all;
}

void Catalog::Ask(const Wanted& wanted, Question& question) const {
  const std::shared_ptr<Root>& root = roots_[question.root];
  std::function<absl::StatusOr<Found>()> find =
      [root, options = options_, name = std::string(wanted.model),
       revision = std::string(wanted.revision)]() -> absl::StatusOr<Found> {
    (void)root->Refresh();  // what is wrong with it, volume() tells
    ASSIGN_OR_RETURN(const std::shared_ptr<Volume> volume, root->volume());
    Scan scan(volume, options);
    ASSIGN_OR_RETURN(std::vector<Checkpoint> found,
                     revision.empty() ? scan.One(name) : scan.OneRevision(name, revision));
    if (found.empty()) {
      if (revision.empty()) RETURN_IF_ERROR(FindOutsideLink(*volume, name));
      return std::nullopt;
    }
    const absl::Status looked = LookAtShards(found.front(), options);
    if (!looked.ok()) found.front().problem = std::string(looked.message());
    return std::move(found.front());
  };
  if (root->threads() == nullptr) {
    question.answer = find();
    return;
  }
  const absl::Duration patience = question.briefly ? kRootPatience : absl::InfiniteDuration();
  VolumeWork call(absl::StrCat("look for ", wanted.model),
                  VolumesShown(question.root, wanted.model), wanted.users);
  question.pending.emplace(
      root->threads()->Begin<Found>(std::move(call), std::move(find), {.total = patience}));
}

bool Catalog::LastShowed(size_t root, absl::string_view model) const {
  const auto last = LastScan(root);
  return last != nullptr && last->Find(model) != nullptr;
}

bool Catalog::AsksBriefly(size_t root, const Wanted& wanted) const {
  VolumeThreads* const threads = roots_[root]->threads();
  if (threads == nullptr || LastShowed(root, wanted.model)) return false;
  return root + 1 < roots_.size() || threads->state().stuck > 0;
}

absl::StatusOr<Catalog::Found> Catalog::FindFirst(const Wanted& wanted,
                                                  std::vector<Question> questions,
                                                  Search& search) const {
  for (size_t i = 0; i < questions.size(); ++i) {
    Question& question = questions[i];
    if (!question.is_asked()) Ask(wanted, question);
    if (question.pending.has_value() && !question.pending->IsOverWithin(kPromptAnswer)) {
      for (size_t j = i + 1; j < questions.size(); ++j) {
        if (!questions[j].is_asked()) Ask(wanted, questions[j]);
        if (LastShowed(questions[j].root, wanted.model)) break;  // it ends there
      }
    }
    ASSIGN_OR_RETURN(Found found, Weigh(wanted, question, search));
    if (found.has_value()) return found;
  }
  return std::nullopt;
}

absl::StatusOr<Catalog::Found> Catalog::Weigh(const Wanted& wanted, Question& question,
                                              Search& search) const {
  const size_t root = question.root;
  const std::shared_ptr<Root>& asked = roots_[root];
  absl::StatusOr<Found> found =
      question.pending.has_value() ? question.pending->Await() : *std::move(question.answer);
  if (found.ok()) return found;
  const std::optional<Reason> reason = GetReason(found.status());
  if (reason == Reason::kPathOutsideRoot) {
    search.outside.Update(found.status());
    return std::nullopt;
  }
  if (reason == Reason::kDraining || LastShowed(root, wanted.model)) return found;
  const bool unanswered = reason == Reason::kVolumeStuck || reason == Reason::kVolumeBusy;
  if (question.briefly && unanswered && asked->threads()->state().stuck == 0) {
    search.slow.push_back(root);
  } else if (LastScan(root) == nullptr && (unanswered || asked->volume().ok())) {
    search.untold.Update(found.status());
  }
  search.passed_over.push_back(
      absl::StrCat("root ", asked->path(), " was passed over: ", found.status().message()));
  return std::nullopt;
}

absl::StatusOr<Checkpoint> Catalog::Find(absl::string_view model, absl::string_view revision,
                                         VolumeUsers users) const {
  RETURN_IF_ERROR(ValidateModelName(model));
  const Wanted wanted = {.model = model, .revision = revision, .users = std::move(users)};
  Search search;
  std::vector<Question> all;
  for (size_t i = 0; i < roots_.size(); ++i) {
    all.push_back({.root = i, .briefly = AsksBriefly(i, wanted)});
  }
  ASSIGN_OR_RETURN(Found found, FindFirst(wanted, std::move(all), search));
  if (found.has_value()) {
    found->fallbacks = std::move(search.passed_over);
    return *std::move(found);
  }
  std::vector<Question> slow;
  for (const size_t i : std::exchange(search.slow, {})) slow.push_back({.root = i});
  ASSIGN_OR_RETURN(found, FindFirst(wanted, std::move(slow), search));
  if (found.has_value()) return *std::move(found);
  RETURN_IF_ERROR(search.outside);
  if (search.untold.ok()) return NotFound(wanted, search.passed_over);
  // Lost bytes of a directory are none of a model's.
  const absl::Status untold = absl::IsDataLoss(search.untold)
                                  ? ErrorWithReason(absl::StatusCode::kUnavailable,
                                                    Reason::kReadFailed, search.untold.message())
                                  : search.untold;
  return Annotate(untold, absl::StrCat("model ", model));
}

absl::Status Catalog::CheckExists(absl::string_view model, VolumeUsers users) const {
  RETURN_IF_ERROR(ValidateModelName(model));
  for (size_t i = 0; i < roots_.size(); ++i) {
    if (LastShowed(i, model)) return absl::OkStatus();
  }
  const Wanted wanted = {.model = model, .revision = "", .users = std::move(users)};
  std::vector<Question> all;
  for (size_t i = 0; i < roots_.size(); ++i) all.push_back({.root = i, .briefly = true});
  Search search;
  const absl::StatusOr<Found> found = FindFirst(wanted, std::move(all), search);
  const bool all_told = search.outside.ok() && search.passed_over.empty() && search.slow.empty();
  if (!found.ok() || found->has_value() || !all_told) return absl::OkStatus();
  return NotFound(wanted, {});
}

std::set<uint64_t> Catalog::VolumesShown(size_t root, absl::string_view model) const {
  const auto last = LastScan(root);
  const Checkpoint* const shown = last == nullptr ? nullptr : last->Find(model);
  if (shown == nullptr) return {};
  return shown->volumes;
}

std::set<uint64_t> Catalog::VolumesShown(absl::string_view model) const {
  for (size_t i = 0; i < roots_.size(); ++i) {
    if (LastShowed(i, model)) return VolumesShown(i, model);
  }
  return {};
}

absl::Status Catalog::CheckShown(absl::string_view model) const {
  RETURN_IF_ERROR(ValidateModelName(model));
  for (size_t i = 0; i < roots_.size(); ++i) {
    if (LastScan(i) == nullptr || LastShowed(i, model)) return absl::OkStatus();
  }
  return NotFound({.model = model, .revision = "", .users = {}}, {});
}

std::vector<std::string> Catalog::NamesForHints() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < roots_.size(); ++i) {
    std::shared_ptr<const RootScan> scan = LastScan(i);
    if (scan == nullptr && roots_[i]->threads() == nullptr) {  // of who has no watcher
      const absl::StatusOr<std::shared_ptr<Volume>> volume = roots_[i]->volume();
      if (!volume.ok()) continue;
      auto found = Scan(*volume, options_).All();
      if (!found.ok()) continue;  // a hint less; what was asked for is known not to be there
      auto made = std::make_shared<RootScan>();
      made->checkpoints = *std::move(found);
      scan = std::move(made);
    }
    if (scan == nullptr) continue;
    for (const Checkpoint& checkpoint : scan->checkpoints) names.push_back(checkpoint.model);
  }
  return names;
}

absl::Status Catalog::NotFound(const Wanted& wanted,
                               const std::vector<std::string>& passed_over) const {
  const absl::string_view model = wanted.model;
  const absl::string_view revision = wanted.revision;
  std::string text;
  if (revision.empty()) {
    const auto add_path = [](std::string* out, const std::shared_ptr<Root>& root) {
      absl::StrAppend(out, root->path());
    };
    text = absl::StrCat("model ", model, ": no such checkpoint below the roots ",
                        absl::StrJoin(roots_, ", ", add_path));
    const std::vector<std::string> near = NearMisses(model, NamesForHints());
    if (!near.empty()) absl::StrAppend(&text, "; did you mean ", absl::StrJoin(near, ", "), "?");
  } else {
    text = absl::StrCat(
        "model ", model, ": no revision ", revision,
        " of it below the roots; only the snapshots of a hub cache have revisions, and a "
        "short one must fit one of them alone");
  }
  for (const std::string& root : passed_over) absl::StrAppend(&text, "; ", root);
  return ErrorWithReason(absl::StatusCode::kNotFound, Reason::kModelNotFound, text,
                         {{"model", std::string(model)}});
}

absl::StatusOr<OpenedCheckpoint> Catalog::Open(const Checkpoint& checkpoint,
                                               VolumeUsers users) const {
  return CallNear<OpenedCheckpoint>(
      *checkpoint.volume, OpenWork(checkpoint, std::move(users)),
      [checkpoint, options = options_] { return OpenCheckpoint(checkpoint, options); });
}

}  // namespace weightd
