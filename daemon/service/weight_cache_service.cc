#include "daemon/service/weight_cache_service.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/service/diagnosis.h"
#include "daemon/service/grpc_status.h"
#include "daemon/service/known_model.h"
#include "daemon/service/pages.h"
#include "daemon/service/parse_failure.h"
#include "daemon/service/proto_convert.h"
#include "daemon/service/request_names.h"
#include "daemon/service/streams.h"
#include "daemon/service/unary_calls.h"

namespace weightd {
namespace {

constexpr absl::Duration kDefaultGrace = absl::Seconds(10);
constexpr absl::Duration kGraceMax = absl::Minutes(10);
constexpr absl::Duration kLastHoldTime = absl::Minutes(1);
// How long a pin waits until the state file has it.
constexpr absl::Duration kKeepTime = absl::Seconds(2);
// How long a wait takes to see that the daemon drains.
constexpr absl::Duration kDrainLook = absl::Milliseconds(200);

absl::Status RequireModel(const std::string& model, const std::string& device) {
  RETURN_IF_ERROR(CheckNames(model, device));
  if (!model.empty()) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         "the request names no model");
}

absl::StatusOr<absl::Duration> GraceOf(const v1::EvictModelRequest& request) {
  if (!request.has_grace()) return kDefaultGrace;
  const absl::Duration grace = FromProto(request.grace());
  if (grace >= absl::ZeroDuration() && grace <= kGraceMax) return grace;
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         absl::StrCat("grace is ", absl::FormatDuration(grace), ", wanted 0 to ",
                                      absl::FormatDuration(kGraceMax)));
}

// Whether the copies are gone at the deadline. Ends early when the daemon drains: holders then have
// the drain's own time.
bool AwaitGone(const Residency& residency, const std::vector<CopyInfo>& copies, absl::Time deadline,
               const std::atomic<bool>& draining) {
  while (!draining.load()) {
    const absl::Time look = std::min(deadline, absl::Now() + kDrainLook);
    if (residency.AwaitGone(copies, look)) return true;
    if (look == deadline) return false;
  }
  return residency.AwaitGone(copies, absl::InfinitePast());
}

// Blocks until the memory is free.
absl::Status Evict(const ServiceDependencies& with, const std::atomic<bool>& draining,
                   const v1::EvictModelRequest& request, v1::EvictModelResponse& response) {
  RETURN_IF_ERROR(RequireModel(request.model(), request.device()));
  ASSIGN_OR_RETURN(const absl::Duration grace, GraceOf(request));
  ASSIGN_OR_RETURN(const Residency::Evicted evicted,
                   with.residency.Evict(request.model(), request.device(), request.force()));
  uint64_t bytes = evicted.bytes;
  if (!evicted.revoking.empty()) {
    const absl::Time deadline = absl::Now() + grace;
    with.leases.NotifyRevoking(evicted.revoking, deadline);
    if (!AwaitGone(with.residency, evicted.revoking, deadline, draining)) {
      response.set_leases_revoked(with.leases.Revoke(evicted.revoking));
    }
    // What still holds it is the daemon itself, which copies from it.
    if (!AwaitGone(with.residency, evicted.revoking, absl::Now() + kLastHoldTime, draining)) {
      return absl::DeadlineExceededError(
          absl::StrCat("evict ", request.model(),
                       ": its leases have ended, and it is still being "
                       "copied from; it goes when that ends"));
    }
    for (const CopyInfo& copy : evicted.revoking) bytes += copy.allocated_bytes;
  }
  response.set_bytes_freed(bytes);
  response.set_bytes_demoted(evicted.demoted_bytes);
  response.set_generations(evicted.copies + static_cast<uint32_t>(evicted.revoking.size()));
  return absl::OkStatus();
}

// Blocks until everything was read.
absl::Status Verify(Residency& residency, const grpc::CallbackServerContext& context,
                    const v1::VerifyModelRequest& request, v1::VerifyModelResponse& response) {
  RETURN_IF_ERROR(RequireModel(request.model(), request.device()));
  ASSIGN_OR_RETURN(const std::vector<VerifiedCopy> verified,
                   residency.Verify(request.model(), request.device(),
                                    {.bytes_per_second_max = request.bytes_per_second_max(),
                                     .cancelled = [&context] { return context.IsCancelled(); }}));
  for (const VerifiedCopy& copy : verified) {
    v1::VerifiedCopy& to = *response.add_copies();
    to.set_generation_id(copy.info.id.value());
    to.set_device(copy.info.device);
    to.set_tensors(copy.tensors);
    to.set_bytes(copy.bytes);
    to.mutable_damaged_tensors()->Assign(copy.damaged_tensors.begin(), copy.damaged_tensors.end());
  }
  CutDamagedTensors(response);
  return absl::OkStatus();
}

template <typename Response>
void SetKept(const absl::Status& kept, Response& response) {
  response.set_kept(kept.ok());
  if (!kept.ok()) response.set_not_kept(std::string(kept.message()));
}

template <typename Response>
absl::Status SetPinned(Residency& residency, const std::string& model, const std::string& device,
                       bool pinned, Response& response) {
  RETURN_IF_ERROR(RequireModel(model, device));
  ASSIGN_OR_RETURN(const std::vector<CopyInfo> changed, residency.SetPinned(model, device, pinned));
  for (const CopyInfo& info : changed) ToProto(info, *response.add_generations());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Caller> WeightCacheService::Authorize(const grpc::CallbackServerContext& context,
                                                     Right right, bool new_work,
                                                     std::optional<Cost> stream) const {
  ASSIGN_OR_RETURN(Caller caller, d_.calls.Admit(context, right, stream));
  if (new_work && draining_.load()) {
    return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kDraining,
                           "the daemon is shutting down");
  }
  return caller;
}

grpc::ServerUnaryReactor* WeightCacheService::Blocking(grpc::CallbackServerContext& context,
                                                       Right right, bool new_work,
                                                       BlockingPool& pool,
                                                       google::protobuf::Message& response,
                                                       std::function<absl::Status()> work,
                                                       absl::string_view request) {
  absl::StatusOr<Caller> caller = Authorize(context, right, new_work);
  const absl::Status allowed = caller.status();
  if (!allowed.ok()) return AnswerNow(std::move(caller), response, Answer(request, allowed));
  const uint32_t uid = caller->uid;
  auto* call = new PooledCall(*std::move(caller), response, context, pool);
  call->Begin(
      uid, [this, request, work = std::move(work)] { return Answer(request, work()); },
      [this, request](const absl::Status& status) { return Answer(request, status); });
  return call;
}

grpc::Status WeightCacheService::Answer(absl::string_view request,
                                        const absl::Status& status) const {
  if (!status.ok() && !request.empty()) d_.refusals.Add(request, ReasonWord(status));
  return ToGrpcStatus(status);
}

grpc::ServerUnaryReactor* WeightCacheService::Reading(
    grpc::CallbackServerContext& context, google::protobuf::Message& response,
    absl::FunctionRef<void(ModelReads::Caller)> read) const {
  absl::StatusOr<Caller> caller = Authorize(context, Right::kAttach, false);
  const absl::Status allowed = caller.status();
  if (!allowed.ok()) return AnswerNow(std::move(caller), response, ToGrpcStatus(allowed));
  const uint32_t uid = caller->uid;
  auto* call = new UnaryCall(*std::move(caller), response);
  read({.uid = uid,
        .cancelled = [&context] { return context.IsCancelled(); },
        .done = [call](const absl::Status& status) { call->Answer(ToGrpcStatus(status)); }});
  return call;
}

grpc::ServerUnaryReactor* WeightCacheService::ListModels(grpc::CallbackServerContext* context,
                                                         const v1::ListModelsRequest* request,
                                                         v1::ListModelsResponse* response) {
  return Reading(*context, *response, [&](ModelReads::Caller caller) {
    d_.reads.ListModels(std::move(caller), request, response);
  });
}

grpc::ServerUnaryReactor* WeightCacheService::GetModel(grpc::CallbackServerContext* context,
                                                       const v1::GetModelRequest* request,
                                                       v1::GetModelResponse* response) {
  return Reading(*context, *response, [&](ModelReads::Caller caller) {
    d_.reads.GetModel(std::move(caller), request, response);
  });
}

grpc::ServerWriteReactor<v1::StageModelResponse>* WeightCacheService::StageModel(
    grpc::CallbackServerContext* context, const v1::StageModelRequest* request) {
  return MakeStageStream(d_.residency, d_.events, Authorize(*context, Right::kOperate, true),
                         *request);
}

grpc::ServerUnaryReactor* WeightCacheService::EvictModel(grpc::CallbackServerContext* context,
                                                         const v1::EvictModelRequest* request,
                                                         v1::EvictModelResponse* response) {
  // A grace period keeps nobody waiting but other evictions by force.
  BlockingPool& pool = request->force() ? *d_.pools.forced_evictions : *d_.pools.evictions;
  return Blocking(
      *context, Right::kOperate, true, pool, *response,
      [this, request, response] {
        return ExplainNotResident(d_.catalog, request->model(),
                                  Evict(d_, draining_, *request, *response), Asked::kLastLooks);
      },
      "evict");
}

grpc::ServerUnaryReactor* WeightCacheService::VerifyModel(grpc::CallbackServerContext* context,
                                                          const v1::VerifyModelRequest* request,
                                                          v1::VerifyModelResponse* response) {
  return Blocking(
      *context, Right::kOperate, true, *d_.pools.verifications, *response,
      [this, context, request, response] {
        return ExplainNotResident(d_.catalog, request->model(),
                                  Verify(d_.residency, *context, *request, *response),
                                  Asked::kLastLooks);
      },
      "verify");
}

template <typename Response>
grpc::ServerUnaryReactor* WeightCacheService::AnswerWhenKept(Caller caller,
                                                             grpc::CallbackServerContext& context,
                                                             Response& response) const {
  DeferredWriter* const state = d_.info.state;
  if (state == nullptr) {
    response.set_not_kept(d_.info.state_problem);
    return AnswerNow(std::move(caller), response, grpc::Status::OK);
  }
  const uint32_t uid = caller.uid;
  auto* call = new PooledCall(std::move(caller), response, context, *d_.pools.states);
  call->Begin(
      uid,
      [this, state, &response] {
        d_.events.Settle(kKeepTime);  // by then the writer knows of it
        SetKept(state->Flush(kKeepTime), response);
        return grpc::Status::OK;
      },
      [&response](const absl::Status& refused) {
        SetKept(refused, response);  // it is pinned all the same
        return grpc::Status::OK;
      });
  return call;
}

grpc::ServerUnaryReactor* WeightCacheService::RefuseModel(absl::StatusOr<Caller> caller,
                                                          grpc::CallbackServerContext& context,
                                                          google::protobuf::Message& response,
                                                          absl::string_view request,
                                                          const std::string& model,
                                                          const absl::Status& status) const {
  if (!caller.ok() || GetReason(status) != Reason::kModelNotResident) {
    return AnswerNow(std::move(caller), response, Answer(request, status));
  }
  const uint32_t uid = caller->uid;
  auto* call = new PooledCall(*std::move(caller), response, context, *d_.pools.lookups);
  call->Begin(
      uid,
      [this, request, &model, status, uid] {
        return Answer(request, ExplainNotResident(d_.catalog, model, status, Asked::kVolumes, uid));
      },
      [this, request, status](const absl::Status&) { return Answer(request, status); });
  return call;
}

grpc::ServerUnaryReactor* WeightCacheService::PinModel(grpc::CallbackServerContext* context,
                                                       const v1::PinModelRequest* request,
                                                       v1::PinModelResponse* response) {
  absl::StatusOr<Caller> caller = Authorize(*context, Right::kOperate, true);
  absl::Status status = caller.status();
  if (status.ok()) {
    status = SetPinned(d_.residency, request->model(), request->device(), true, *response);
  }
  if (!status.ok()) {
    return RefuseModel(std::move(caller), *context, *response, "pin", request->model(), status);
  }
  return AnswerWhenKept(*std::move(caller), *context, *response);
}

grpc::ServerUnaryReactor* WeightCacheService::UnpinModel(grpc::CallbackServerContext* context,
                                                         const v1::UnpinModelRequest* request,
                                                         v1::UnpinModelResponse* response) {
  absl::StatusOr<Caller> caller = Authorize(*context, Right::kOperate, true);
  absl::Status status = caller.status();
  if (status.ok()) {
    status = SetPinned(d_.residency, request->model(), request->device(), false, *response);
  }
  if (!status.ok()) {
    return RefuseModel(std::move(caller), *context, *response, "unpin", request->model(), status);
  }
  return AnswerWhenKept(*std::move(caller), *context, *response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* WeightCacheService::Attach(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* bytes) {
  v1::AttachRequest request;
  absl::StatusOr<Caller> caller = Authorize(*context, Right::kAttach, true);
  grpc::ByteBuffer copy = *bytes;  // of the references, not of the bytes
  if (!grpc::SerializationTraits<v1::AttachRequest>::Deserialize(&copy, &request).ok()) {
    caller = ParseFailureError(request.GetDescriptor()->full_name());
  }
  return MakeAttachStream({.catalog = d_.catalog,
                           .leases = d_.leases,
                           .residency = d_.residency,
                           .events = d_.events,
                           .grants = *d_.pools.grants,
                           .lookups = *d_.pools.lookups,
                           .tables = d_.tables,
                           .uid_limits = d_.uid_limits,
                           .peers = d_.peers},
                          *context, std::move(caller), request);
}

grpc::ServerWriteReactor<v1::WatchModelsResponse>* WeightCacheService::WatchModels(
    grpc::CallbackServerContext* context, const v1::WatchModelsRequest* request) {
  return MakeModelStream(d_.residency, d_.events,
                         Authorize(*context, Right::kAttach, false, Cost::kWatchers), *request);
}

grpc::ServerUnaryReactor* WeightCacheService::ListLeases(grpc::CallbackServerContext* context,
                                                         const v1::ListLeasesRequest* request,
                                                         v1::ListLeasesResponse* response) {
  return Blocking(*context, Right::kAttach, false, *d_.pools.lists, *response,
                  [this, request, response]() -> absl::Status {
                    RETURN_IF_ERROR(CheckNames(request->model()));
                    for (const LeaseInfo& lease : d_.leases.List(request->model())) {
                      ToProto(lease, *response->add_leases());
                    }
                    return CutPage(*request, *response);
                  });
}

grpc::ServerUnaryReactor* WeightCacheService::Diagnose(grpc::CallbackServerContext* context,
                                                       const v1::DiagnoseRequest* request,
                                                       v1::DiagnoseResponse* response) {
  return Blocking(*context, Right::kAttach, false, *d_.pools.diagnoses, *response,
                  [this, context, request, response] {
                    const AccessOptions access = d_.access.Get();
                    const std::optional<Peer> peer = d_.peers.Find(context->peer());
                    const bool operates =
                        peer.has_value() && Allows(access, *peer, Right::kOperate);
                    weightd::Diagnose(d_.info, access, operates, *request, *response);
                    return absl::OkStatus();
                  });
}

grpc::ServerWriteReactor<v1::WatchEventsResponse>* WeightCacheService::WatchEvents(
    grpc::CallbackServerContext* context, const v1::WatchEventsRequest* request) {
  return MakeEventStream(d_.events, Authorize(*context, Right::kAttach, true, Cost::kWatchers),
                         *request);
}

}  // namespace weightd
