#ifndef WEIGHTD_DAEMON_SERVICE_WEIGHT_CACHE_SERVICE_H_
#define WEIGHTD_DAEMON_SERVICE_WEIGHT_CACHE_SERVICE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "absl/functional/function_ref.h"
#include "daemon/catalog/catalog.h"
#include "daemon/lease/lease_table.h"
#include "daemon/residency/residency.h"
#include "daemon/service/access_list.h"
#include "daemon/service/blocking_pool.h"
#include "daemon/service/call_gate.h"
#include "daemon/service/caller.h"
#include "daemon/service/daemon_info.h"
#include "daemon/service/model_reads.h"
#include "daemon/service/peer_registry.h"
#include "daemon/service/preload_board.h"
#include "daemon/service/refusal_counts.h"
#include "daemon/service/tensor_batches.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

namespace weightd {

// Threads for what may block, one pool for each kind of request: none waits for another.
struct ServicePools {
  std::unique_ptr<BlockingPool> grants;            // of what attaches waited for
  std::unique_ptr<BlockingPool> evictions;         // give memory back
  std::unique_ptr<BlockingPool> forced_evictions;  // likewise, and wait for a grace period
  std::unique_ptr<BlockingPool> verifications;     // read memory again
  std::unique_ptr<BlockingPool> lists;      // of what may be many: its threads wait for nothing
  std::unique_ptr<BlockingPool> diagnoses;  // look at the roots
  std::unique_ptr<BlockingPool> states;     // wait until pins are on the disk
  std::unique_ptr<BlockingPool> lookups;    // ask the roots for models that nobody knows
};

// What the handlers work with; all of it outlives the server.
struct ServiceDependencies {
  const Catalog& catalog;
  ModelReads& reads;
  Residency& residency;
  LeaseTable& leases;
  EventLog& events;
  const CallGate& calls;
  const AccessList& access;
  const PeerRegistry& peers;
  const ServicePools& pools;
  const PreloadBoard& preloads;
  RefusalCounts& refusals;
  TensorBatchCache& tables;
  UidLimits& uid_limits;
  const DaemonInfo& info;
};

// weightd.v1.WeightCache: checks who asks, translates, and calls those who decide. Thread-safe.
class WeightCacheService final
    : public v1::WeightCache::WithRawCallbackMethod_Attach<v1::WeightCache::CallbackService> {
 public:
  explicit WeightCacheService(const ServiceDependencies& dependencies) : d_(dependencies) {}

  // From here on GetStatus says so and everything that takes new work is refused.
  void StartDraining() { draining_.store(true); }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;
  grpc::ServerWriteReactor<v1::StageModelResponse>* StageModel(
      grpc::CallbackServerContext* context, const v1::StageModelRequest* request) override;
  grpc::ServerUnaryReactor* EvictModel(grpc::CallbackServerContext* context,
                                       const v1::EvictModelRequest* request,
                                       v1::EvictModelResponse* response) override;
  grpc::ServerUnaryReactor* VerifyModel(grpc::CallbackServerContext* context,
                                        const v1::VerifyModelRequest* request,
                                        v1::VerifyModelResponse* response) override;
  grpc::ServerUnaryReactor* PinModel(grpc::CallbackServerContext* context,
                                     const v1::PinModelRequest* request,
                                     v1::PinModelResponse* response) override;
  grpc::ServerUnaryReactor* UnpinModel(grpc::CallbackServerContext* context,
                                       const v1::UnpinModelRequest* request,
                                       v1::UnpinModelResponse* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Attach(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* ListLeases(grpc::CallbackServerContext* context,
                                       const v1::ListLeasesRequest* request,
                                       v1::ListLeasesResponse* response) override;
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest* request,
                                      v1::GetStatusResponse* response) override;
  grpc::ServerUnaryReactor* ListStageReports(grpc::CallbackServerContext* context,
                                             const v1::ListStageReportsRequest* request,
                                             v1::ListStageReportsResponse* response) override;
  grpc::ServerUnaryReactor* Diagnose(grpc::CallbackServerContext* context,
                                     const v1::DiagnoseRequest* request,
                                     v1::DiagnoseResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchModelsResponse>* WatchModels(
      grpc::CallbackServerContext* context, const v1::WatchModelsRequest* request) override;
  grpc::ServerWriteReactor<v1::WatchEventsResponse>* WatchEvents(
      grpc::CallbackServerContext* context, const v1::WatchEventsRequest* request) override;

 private:
  // CallGate::Admit(); `new_work` is refused while draining.
  absl::StatusOr<Caller> Authorize(const grpc::CallbackServerContext& context, Right right,
                                   bool new_work, std::optional<Cost> stream = std::nullopt) const;
  // Runs `work` on `pool`, after Authorize, and finishes the call with its status. A call that is
  // cancelled before its turn is not worked on. Refusals are counted as those of `request`, unless
  // that is empty.
  grpc::ServerUnaryReactor* Blocking(grpc::CallbackServerContext& context, Right right,
                                     bool new_work, BlockingPool& pool,
                                     google::protobuf::Message& response,
                                     std::function<absl::Status()> work,
                                     absl::string_view request = "");
  // Calls `read` for who asks, after Authorize: it answers on any thread.
  grpc::ServerUnaryReactor* Reading(grpc::CallbackServerContext& context,
                                    google::protobuf::Message& response,
                                    absl::FunctionRef<void(ModelReads::Caller)> read) const;
  // What the client is told; counted where it is an error.
  grpc::Status Answer(absl::string_view request, const absl::Status& status) const;
  // Refuses a request for `model`: see ExplainNotResident().
  grpc::ServerUnaryReactor* RefuseModel(absl::StatusOr<Caller> caller,
                                        grpc::CallbackServerContext& context,
                                        google::protobuf::Message& response,
                                        absl::string_view request, const std::string& model,
                                        const absl::Status& status) const;
  // Answers once what was pinned is on the disk, or cannot be put there.
  template <typename Response>
  grpc::ServerUnaryReactor* AnswerWhenKept(Caller caller, grpc::CallbackServerContext& context,
                                           Response& response) const;
  void FillStuck(const RootLook& look, v1::VolumeStatus& volume) const;
  void FillStatus(v1::GetStatusResponse& response) const;

  const ServiceDependencies d_;
  std::atomic<bool> draining_ = false;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_WEIGHT_CACHE_SERVICE_H_
