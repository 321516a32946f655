#ifndef WEIGHTD_DAEMON_SERVICE_MODEL_LISTING_H_
#define WEIGHTD_DAEMON_SERVICE_MODEL_LISTING_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/catalog_watcher.h"
#include "daemon/catalog/model_ref.h"
#include "daemon/format/manifest.h"
#include "daemon/residency/residency.h"
#include "weightd/v1/weight_cache.pb.h"

// What the last looks through the roots showed joined with what is in memory: the parts of
// ListModels, GetModel and WatchModels. Nothing here touches a volume. Thread-safe.

namespace weightd {

// The models below the roots, made once for each set of looks. Immutable.
struct CatalogRows {
  struct Row {
    const Checkpoint* checkpoint = nullptr;  // of one of `looks`
    size_t root = 0;
    v1::Model model;  // what the volume tells of it
  };
  std::vector<RootLook> looks;
  std::map<std::string, Row> rows;  // by model; an earlier root's hides a later one's

  // Null without such a model.
  const Row* Find(const std::string& model) const;
  // Whether no root has what a copy of `model` was read from, also not under another name (a link):
  // false while that is not known, of a root or of a directory that the model may be in.
  bool HasLost(const std::string& model, const CopyContent& content) const;
};
std::shared_ptr<const CatalogRows> MakeCatalogRows(std::vector<RootLook> looks);

// A manifest and the order of its tensors by name, which is made once. Immutable.
struct SortedManifest {
  std::shared_ptr<const Manifest> manifest;
  std::vector<uint32_t> by_name;  // indices of its tensors
};
std::shared_ptr<const SortedManifest> SortByName(std::shared_ptr<const Manifest> manifest);

// How old what is told may be: when each root was looked through, and what is wrong with it.
void AddScannedRoots(const std::vector<RootLook>& looks,
                     google::protobuf::RepeatedPtrField<v1::ScannedRoot>& to);

void ListModels(const CatalogRows& rows, const Residency& residency,
                v1::ListModelsResponse& response);

// What WatchModels sends: the models in memory, or `only` one.
void ListResident(const Residency& residency, const std::string& only,
                  google::protobuf::RepeatedPtrField<v1::Model>& to);

// The content that GetModel tells the tensors of: the newest that is not superseded, or the
// generation that is named; null where the model is not in memory.
std::shared_ptr<const CopyContent> ContentToTell(const Residency& residency, const ModelRef& ref);

// Where a page begins. INVALID_ARGUMENT/INVALID_REQUEST for a token that is not ours.
absl::StatusOr<size_t> ParsePageToken(const std::string& token);

// The answer to GetModel. `content` is null for a model that is not in memory; `tensors` are of it,
// or of the model's files.
void DescribeModel(const CatalogRows& rows, const Residency& residency, const ModelRef& ref,
                   const std::shared_ptr<const CopyContent>& content, const SortedManifest& tensors,
                   size_t begin, const v1::GetModelRequest& request,
                   v1::GetModelResponse& response);

// FAILED_PRECONDITION/MODEL_NOT_RESIDENT for what only memory can have: a generation, or a revision
// that is not the one that the row's files are of.
absl::Status CheckOfVolume(const CatalogRows::Row& row, const ModelRef& ref);

// NOT_FOUND/MODEL_NOT_FOUND with near misses, and with the roots that may hide it.
absl::Status UnknownModel(const CatalogRows& rows, const std::string& model);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_MODEL_LISTING_H_
