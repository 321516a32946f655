#ifndef WEIGHTD_DAEMON_SERVICE_MODEL_READS_H_
#define WEIGHTD_DAEMON_SERVICE_MODEL_READS_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/catalog_watcher.h"
#include "daemon/residency/residency.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd {

struct ModelReadsOptions {
  // Of one uid at once: what it asks for beyond that is refused.
  uint32_t per_uid_max = 256;
  // How long a list waits for a look through the roots that begins after it was asked for; then it
  // is answered from the last one.
  absl::Duration refresh_wait = absl::Seconds(1);
};

// ListModels and GetModel, for users who take turns. Answers come from memory: what the last looks
// through the roots showed, and what is resident. What needs a volume runs on the threads of its
// root, so that a volume that hangs holds up nobody else; no thread of ours waits for one. A call
// whose caller has left is not worked on.
//
// Thread-safe.
class ModelReads {
 public:
  // Who asks. All of it is used until `done` was called, which is once and on any thread.
  struct Caller {
    uint32_t uid = 0;
    std::function<bool()> cancelled;
    std::function<void(const absl::Status&)> done;
  };

  // All that is passed outlives it.
  static absl::StatusOr<std::unique_ptr<ModelReads>> Create(const ModelReadsOptions& options,
                                                            const Catalog& catalog,
                                                            CatalogWatcher& watcher,
                                                            const Residency& residency);
  ModelReads(const ModelReads&) = delete;
  ModelReads& operator=(const ModelReads&) = delete;
  // Stop().
  ~ModelReads();

  // RESOURCE_EXHAUSTED/LIMIT_EXCEEDED beyond `per_uid_max`, CANCELLED/CANCELLED,
  // UNAVAILABLE/DRAINING. The request and the response are the caller's until `done`.
  void ListModels(Caller caller, const v1::ListModelsRequest* request,
                  v1::ListModelsResponse* response);
  // Also the errors of Catalog::Open, DEADLINE_EXCEEDED/VOLUME_STUCK when the volume of a model
  // that is not resident does not answer in time, and those of VolumeThreads::Submit().
  void GetModel(Caller caller, const v1::GetModelRequest* request, v1::GetModelResponse* response);

  // Whoever waits is told DRAINING, and so is who comes later. Waits for an answer that is being
  // made.
  void Stop();

 private:
  struct Shared;

  explicit ModelReads(std::shared_ptr<Shared> shared);

  const std::shared_ptr<Shared> shared_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_MODEL_READS_H_
