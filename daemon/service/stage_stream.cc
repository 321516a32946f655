#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/errors.h"
#include "daemon/service/grpc_status.h"
#include "daemon/service/proto_convert.h"
#include "daemon/service/request_names.h"
#include "daemon/service/streams.h"

namespace weightd {
namespace {

class StageStream final : public ClientStream<v1::StageModelResponse> {
 public:
  void Begin(Residency& residency, EventLog& events, const absl::StatusOr<Caller>& peer,
             const v1::StageModelRequest& request) {
    const auto refuse = [&](const absl::Status& status) {
      Refuse(events, peer.ok() ? static_cast<const Peer&>(*peer) : Peer{}, request, status);
    };
    if (!peer.ok()) return refuse(peer.status());
    if (absl::Status names = CheckNames(request); !names.ok()) return refuse(names);
    const auto verify = FromProto(request.verify());
    if (!verify.ok()) return refuse(verify.status());
    absl::StatusOr<StageTicket> ticket = residency.Stage(
        {.model = request.model(),
         .devices = {request.devices().begin(), request.devices().end()},
         .pin = request.pin(),
         .detached = request.detached(),
         .restage = request.restage(),
         .bytes_per_second_max = request.bytes_per_second_max(),
         .host_copy =
             request.has_host_copy() ? std::optional<bool>(request.host_copy()) : std::nullopt,
         .verify = *verify,
         .priority = JobPriority::kOperator,
         .uid = peer->uid});
    if (!ticket.ok()) return refuse(ticket.status());
    job_ = std::move(ticket->job);
    user_ = ticket->user;
    joined_ = ticket->joined;
    observer_ = job_->Observe([this](const StageSnapshot& snapshot) { OnProgress(snapshot); });
  }

 private:
  // What never became a job is told here; of a job its run tells.
  void Refuse(EventLog& events, const Peer& peer, const v1::StageModelRequest& request,
              const absl::Status& status) {
    events.Publish(Event::StageRefused(Shortened(request.model()),
                                       Shortened(absl::StrJoin(request.devices(), ", ")),
                                       {.pid = peer.pid, .uid = peer.uid}, status));
    Close(ToGrpcStatus(status));
  }

  void OnProgress(const StageSnapshot& snapshot) {
    if (snapshot.phase == StagePhase::kFailed) return Close(ToGrpcStatus(snapshot.status));
    v1::StageModelResponse response;
    ToProto(snapshot, response);
    response.set_joined(joined_);
    // The first message says that the job is accepted and must not be replaced.
    if (first_) {
      first_ = false;
      Enqueue(std::move(response));
    } else {
      Replace(std::move(response));
    }
    if (snapshot.final()) Close(grpc::Status::OK);
  }

  void OnGone() override {
    if (job_ == nullptr) return;
    job_->Unobserve(observer_);
    job_->Leave(user_);
  }

  uint32_t user_ = 0;
  std::shared_ptr<StageJob> job_;  // fixed after Begin, with what follows
  uint64_t observer_ = 0;
  bool joined_ = false;
  bool first_ = true;  // used under the job's lock
};

}  // namespace

grpc::ServerWriteReactor<v1::StageModelResponse>* MakeStageStream(
    Residency& residency, EventLog& events, absl::StatusOr<Caller> caller,
    const v1::StageModelRequest& request) {
  auto* stream = new StageStream();
  if (caller.ok()) stream->Hold(*caller);
  stream->Begin(residency, events, caller, request);
  stream->Start();
  return stream;
}

}  // namespace weightd
