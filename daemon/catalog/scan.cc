#include "daemon/catalog/scan.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/directory_files.h"
#include "daemon/catalog/model_name.h"
#include "daemon/catalog/open_shards.h"

namespace weightd {
namespace {

constexpr absl::string_view kUsualIndex = "model.safetensors.index.json";
constexpr size_t kRevisionBytesMax = 255;
// A commit is named by this much of it, or more.
constexpr size_t kShortRevision = 7;

std::string WithoutSuffix(absl::string_view name, absl::string_view suffix) {
  return std::string(absl::StripSuffix(name, suffix));
}

// Whether a directory is too large, and so told instead of being passed over.
bool IsLimit(const absl::Status& status) { return GetReason(status) == Reason::kLimitExceeded; }

}  // namespace

absl::StatusOr<std::vector<Checkpoint>> Scan::All() {
  ASSIGN_OR_RETURN(const std::vector<DirEntry> root, ListRoot());
  FindInRoot(root);
  visited_.emplace_back();
  AddChildren(Directory(), root);
  while (!pending_.empty() || !linked_.empty()) {
    std::deque<Directory>& from = pending_.empty() ? linked_ : pending_;
    const Directory directory = std::move(from.front());
    from.pop_front();
    if (directory.through_link && !IsNew(directory)) continue;
    Visit(directory);
  }
  for (const auto& [name, tree] : trees_) {
    if (tree.lost_count < 2) continue;
    absl::StrAppend(&found_[tree.lost_index].problem, "; so has ", tree.lost_count - 1,
                    " directories more of ", name);
  }
  return TakeBest();
}

void Scan::Visit(const Directory& directory) {
  const absl::string_view name =
      absl::string_view(directory.path).substr(directory.path.rfind('/') + 1);
  if (!directory.through_link) visited_.push_back(directory.path);
  if (IsHubDirectory(name)) return VisitHub(directory);
  const auto listing = ListCounted(directory.path);
  if (IsLimit(listing.status())) Lose(directory, listing.status());
  if (!listing.ok()) return;
  FindInDirectory(directory, *listing);
  AddChildren(directory, listing->entries);
}

void Scan::AddChildren(const Directory& parent, const std::vector<DirEntry>& entries) {
  if (parent.depth >= options_.depth_max) return;
  for (const DirEntry& entry : entries) {
    const bool unspeakable = IsUnspeakableName(entry.name);
    if (entry.kind != DirEntry::Kind::kDirectory) continue;
    if (!unspeakable && !IsVisibleName(entry.name)) continue;
    if (IsOtherHubDirectory(entry.name)) continue;
    const std::string problem =
        unspeakable && parent.problem.empty() ? UnspeakableText(entry.name) : parent.problem;
    const std::string name = unspeakable ? SpeakableName(entry.name) : entry.name;
    Directory child = {.path = JoinPath(parent.path, entry.name),
                       .model = JoinPath(parent.model, name),
                       .revision = parent.revision,
                       .depth = parent.depth + 1,
                       .through_link = parent.through_link || entry.is_link,
                       .problem = problem};
    (child.through_link ? linked_ : pending_).push_back(std::move(child));
  }
}

bool Scan::IsNew(const Directory& directory) {
  // Nothing but links comes from here on, so that all other paths are known.
  for (const std::string& path : visited_) {
    if (const auto facts = volume_->Stat(path); facts.ok()) {
      visited_ids_.emplace(facts->identity.device, facts->identity.inode);
    }
  }
  visited_.clear();
  const auto facts = volume_->Stat(directory.path);
  return facts.ok() && visited_ids_.emplace(facts->identity.device, facts->identity.inode).second;
}

Scan::Tree& Scan::TreeOf(absl::string_view path) {
  const absl::string_view name = path.substr(0, path.find('/'));
  const auto found = trees_.find(name);
  if (found != trees_.end()) return found->second;
  return trees_.emplace(std::string(name), Tree{.entries_left = options_.entries_max})
      .first->second;
}

void Scan::Lose(const Directory& directory, const absl::Status& why) {
  Tree& tree = TreeOf(directory.path);
  if (tree.lost_count++ > 0) return;
  tree.lost_index = found_.size();
  Checkpoint lost = Named(directory.model);
  lost.directory = directory.path;
  lost.problem = std::string(why.message());
  found_.push_back(std::move(lost));
}

absl::StatusOr<std::vector<Checkpoint>> Scan::One(absl::string_view model) {
  ASSIGN_OR_RETURN(const std::vector<DirEntry> root, ListRoot());
  const std::vector<std::string> parts = absl::StrSplit(model, '/');
  if (!std::all_of(parts.begin(), parts.end(), [](const auto& part) {
        return IsVisibleName(part) && !IsOtherHubDirectory(part);
      })) {
    return std::vector<Checkpoint>();
  }
  if (parts.size() == 1) FindInRoot(root_problem_.ok() ? root : FilesInRoot(model));
  if (std::none_of(parts.begin(), parts.end(),
                   [](const auto& part) { return IsHubDirectory(part); })) {
    RETURN_IF_ERROR(Look({.path = std::string(model),
                          .model = std::string(model),
                          .revision = "",
                          .depth = static_cast<uint32_t>(parts.size())}));
  }
  RETURN_IF_ERROR(LookInHub(model));
  return TakeBestOf(model);
}

absl::StatusOr<std::vector<Checkpoint>> Scan::OneRevision(absl::string_view model,
                                                          absl::string_view revision) {
  wanted_revision_ = std::string(revision);
  RETURN_IF_ERROR(LookInHub(model));
  return TakeBestOf(model);
}

// A model a/b/c may be the directory c of the repository a/b, the repository b/c in the directory
// a, and so on: a repository of one or two components can begin at each.
absl::Status Scan::LookInHub(absl::string_view model) {
  const std::vector<std::string> parts = absl::StrSplit(model, '/');
  for (size_t first = 0; first < parts.size() && !(first > 0 && IsHubDirectory(parts[first - 1]));
       ++first) {
    for (size_t count = 1; count <= 2 && first + count <= parts.size(); ++count) {
      const auto begin = parts.begin() + static_cast<ptrdiff_t>(first);
      const auto end = begin + static_cast<ptrdiff_t>(count);
      const std::string name = absl::StrCat("models--", absl::StrJoin(begin, end, "--"));
      if (ModelOfHubDirectory(name) != absl::StrJoin(begin, end, "/")) continue;
      const std::string repository = JoinPath(absl::StrJoin(parts.begin(), begin, "/"), name);
      const auto revision = ChooseRevision(repository);
      if (!revision.ok()) return revision.status();
      if (revision->empty()) continue;
      const std::string snapshot = absl::StrCat(repository, "/snapshots/", *revision);
      const std::string path = JoinPath(snapshot, absl::StrJoin(end, parts.end(), "/"));
      RETURN_IF_ERROR(
          Look({.path = path,
                .model = std::string(model),
                .revision = *revision,
                .depth = static_cast<uint32_t>(std::count(path.begin(), path.end(), '/') + 1)}));
    }
  }
  return absl::OkStatus();
}

absl::Status Scan::Look(const Directory& directory) {
  if (directory.depth > options_.depth_max) return absl::OkStatus();
  const auto listing = ListCounted(directory.path);
  if (IsLimit(listing.status())) return listing.status();
  if (listing.ok()) FindInDirectory(directory, *listing);
  return absl::OkStatus();
}

absl::StatusOr<DirListing> Scan::ListCounted(absl::string_view directory) {
  Tree& tree = TreeOf(directory);
  ASSIGN_OR_RETURN(DirListing listing, volume_->List(directory, tree.entries_left));
  if (!listing.is_whole) return TooManyEntries(directory);
  tree.entries_left -= listing.entries.size();
  return listing;
}

absl::StatusOr<std::vector<DirEntry>> Scan::ListRoot() {
  absl::StatusOr<DirListing> listing = volume_->List("", options_.entries_max);
  if (!listing.ok()) return Annotate(listing.status(), absl::StrCat("scan ", volume_->root()));
  if (!listing->is_whole) root_problem_ = TooManyEntries("");
  return std::move(listing->entries);
}

absl::Status Scan::TooManyEntries(absl::string_view directory) const {
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
      absl::StrCat(directory.empty() ? volume_->root() : directory, ": more entries than the ",
                   options_.entries_max, " that are looked at of one directory in a root, with ",
                   "all below (limits.catalog_entries_max); raise it, or keep other files away ",
                   "from the models"));
}

std::vector<DirEntry> Scan::FilesInRoot(absl::string_view model) {
  std::vector<DirEntry> files;
  for (const absl::string_view suffix : {kIndexSuffix, kSafetensorsSuffix, kTensorsSuffix}) {
    const std::string name = absl::StrCat(model, suffix);
    const auto facts = volume_->Stat(name);
    if (!facts.ok() || facts->kind != DirEntry::Kind::kFile) continue;
    files.push_back({.name = name, .kind = DirEntry::Kind::kFile, .is_link = false});
  }
  return files;
}

Checkpoint Scan::Named(std::string model) const {
  Checkpoint checkpoint;
  checkpoint.model = std::move(model);
  checkpoint.volume = volume_;
  return checkpoint;
}

// In the root every file is a model of its own, but for those that an index there names.
void Scan::FindInRoot(const std::vector<DirEntry>& entries) {
  const WeightFiles files = SelectWeightFiles(entries);
  std::set<std::string> claimed;
  for (const std::string& index : files.indexes) {
    Checkpoint checkpoint = Named(WithoutSuffix(index, kIndexSuffix));
    checkpoint.index_path = index;
    if (const auto parsed = ReadIndex(checkpoint, options_); parsed.ok()) {
      const std::vector<std::string>& shards = (*parsed)->content.shards;
      claimed.insert(shards.begin(), shards.end());
      // A root that is a checkpoint has one index, which is wanted next. Several would be too large
      // to hold.
      if (files.indexes.size() == 1) checkpoint.index = *parsed;
    }
    found_.push_back(std::move(checkpoint));
  }
  for (const auto* names : {&files.safetensors, &files.tensors}) {
    for (const std::string& file : *names) {
      if (claimed.count(file) != 0) continue;
      Checkpoint checkpoint = Named(WithoutWeightsSuffix(file));
      checkpoint.shard_paths.push_back(file);
      found_.push_back(std::move(checkpoint));
    }
  }
  for (const std::string& file : files.unspeakable) {
    Checkpoint checkpoint =
        Named(SpeakableName(WithoutWeightsSuffix(WithoutSuffix(file, kIndexSuffix))));
    checkpoint.problem = absl::StrCat("open ", checkpoint.model, ": ", UnspeakableText(file));
    found_.push_back(std::move(checkpoint));
  }
}

void Scan::FindInDirectory(const Directory& directory, const DirListing& listing) {
  const WeightFiles files = SelectWeightFiles(listing.entries);
  if (files.empty()) return;
  Checkpoint checkpoint = Named(directory.model);
  checkpoint.directory = directory.path;
  checkpoint.volumes = {listing.device};
  checkpoint.revision = directory.revision;
  const std::string missed = files.indexes.empty() ? files.missed_of_directory() : "";
  if (!directory.problem.empty() || !missed.empty()) {
    checkpoint.problem =
        absl::StrCat("open ", directory.model, ": ",
                     directory.problem.empty() ? UnspeakableText(missed) : directory.problem);
    return found_.push_back(std::move(checkpoint));
  }
  const bool has_usual = std::count(files.indexes.begin(), files.indexes.end(), kUsualIndex) != 0;
  if (has_usual || files.indexes.size() == 1) {
    checkpoint.index_path =
        JoinPath(directory.path, has_usual ? std::string(kUsualIndex) : files.indexes[0]);
  } else if (files.indexes.size() > 1) {
    checkpoint.problem =
        absl::StrCat("open ", directory.path, ": several indexes (",
                     absl::StrJoin(files.indexes, ", "), "), none called ", kUsualIndex);
  } else {
    for (const std::string& name : CompleteShards(files.of_directory(), options_.shards_max)) {
      checkpoint.shard_paths.push_back(JoinPath(directory.path, name));
    }
  }
  found_.push_back(std::move(checkpoint));
}

void Scan::VisitHub(const Directory& repository) {
  if (repository.depth + 2 > options_.depth_max) return;
  const size_t slash = repository.model.rfind('/');
  const std::string parent = slash == std::string::npos ? "" : repository.model.substr(0, slash);
  const std::string raw_name = repository.path.substr(repository.path.rfind('/') + 1);
  const std::string name = IsUnspeakableName(raw_name) ? SpeakableName(raw_name) : raw_name;
  Directory snapshot = repository;
  snapshot.model = JoinPath(parent, ModelOfHubDirectory(name));
  const absl::StatusOr<std::string> revision = ChooseRevision(repository.path);
  if (!revision.ok()) return Lose(snapshot, revision.status());
  if (revision->empty()) return;
  snapshot.path = absl::StrCat(repository.path, "/snapshots/", *revision);
  snapshot.revision = *revision;
  snapshot.depth = repository.depth + 2;
  (snapshot.through_link ? linked_ : pending_).push_back(std::move(snapshot));
}

absl::StatusOr<std::string> Scan::ChooseRevision(const std::string& repository) {
  const auto listing = ListCounted(absl::StrCat(repository, "/snapshots"));
  if (IsLimit(listing.status())) return listing.status();
  if (!listing.ok()) return std::string();
  std::vector<std::string> revisions;
  for (const DirEntry& entry : listing->entries) {
    if (entry.kind == DirEntry::Kind::kDirectory && IsVisibleName(entry.name)) {
      revisions.push_back(entry.name);
    }
  }
  if (!wanted_revision_.empty()) return NamedRevision(repository, revisions);
  if (revisions.size() > 1) {
    const std::string main = RevisionOfRef(repository, "main");
    if (std::count(revisions.begin(), revisions.end(), main) != 0) return main;
  }
  std::string newest;
  int64_t newest_ns = -1;
  for (const std::string& revision : revisions) {
    const int64_t time_ns = revisions.size() == 1
                                ? 0
                                : NewestWeights(absl::StrCat(repository, "/snapshots/", revision));
    if (time_ns < newest_ns) continue;
    newest = revision;
    newest_ns = time_ns;
  }
  return newest;
}

std::string Scan::NamedRevision(const std::string& repository,
                                const std::vector<std::string>& revisions) {
  const std::string of_ref = RevisionOfRef(repository, wanted_revision_);
  std::string named;
  for (const std::string& revision : revisions) {
    if (revision == of_ref || revision == wanted_revision_) return revision;
    if (wanted_revision_.size() < kShortRevision || !absl::StartsWith(revision, wanted_revision_)) {
      continue;
    }
    if (!named.empty()) return "";  // it fits two
    named = revision;
  }
  return named;
}

std::string Scan::RevisionOfRef(const std::string& repository, absl::string_view ref) {
  const auto file =
      volume_->Open(absl::StrCat(repository, "/refs/", absl::StripPrefix(ref, "refs/")));
  if (!file.ok() || (*file)->identity().size_bytes > kRevisionBytesMax) return "";
  std::string text((*file)->identity().size_bytes, '\0');
  const absl::Span<std::byte> bytes(reinterpret_cast<std::byte*>(text.data()), text.size());
  if (!(*file)->ReadAt(0, bytes).ok()) return "";
  return std::string(absl::StripAsciiWhitespace(text));
}

// The time of the newest weight file that a snapshot links to; a directory's own time is that of
// its last link, which a repair of the cache changes too.
int64_t Scan::NewestWeights(const std::string& snapshot) {
  int64_t newest_ns = 0;
  const auto listing = ListCounted(snapshot);
  if (!listing.ok()) return newest_ns;
  const WeightFiles files = SelectWeightFiles(listing->entries);
  for (const std::string& name : files.of_directory()) {
    const auto facts = volume_->Stat(JoinPath(snapshot, name));
    if (facts.ok()) newest_ns = std::max(newest_ns, facts->identity.mtime_ns);
  }
  return newest_ns;
}

std::vector<Checkpoint> Scan::TakeBestOf(absl::string_view model) {
  std::vector<Checkpoint> best = TakeBest();
  std::erase_if(best, [&](const Checkpoint& checkpoint) { return checkpoint.model != model; });
  return best;
}

std::vector<Checkpoint> Scan::TakeBest() {
  // Of one name: a file in the root before a directory before a hub cache, then by path; of files
  // in the root, an index before a safetensors file before a .tensors file.
  const auto key = [](const Checkpoint& checkpoint) {
    return std::tuple(absl::string_view(checkpoint.model), !checkpoint.directory.empty(),
                      !checkpoint.revision.empty(), absl::string_view(checkpoint.directory),
                      checkpoint.index_path.empty(),
                      !checkpoint.shard_paths.empty() &&
                          FormatOf(checkpoint.shard_paths.front()) == FileFormat::kTensors,
                      !checkpoint.problem.empty());
  };
  std::sort(found_.begin(), found_.end(),
            [&](const Checkpoint& a, const Checkpoint& b) { return key(a) < key(b); });
  std::vector<Checkpoint> best;
  for (Checkpoint& checkpoint : found_) {
    if (!ValidateModelName(checkpoint.model).ok()) continue;
    if (best.empty() || best.back().model != checkpoint.model)
      best.push_back(std::move(checkpoint));
  }
  found_.clear();
  return best;
}

}  // namespace weightd
