#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/service/grpc_status.h"
#include "daemon/service/known_model.h"
#include "daemon/service/metadata_pieces.h"
#include "daemon/service/proto_convert.h"
#include "daemon/service/request_names.h"
#include "daemon/service/streams.h"

namespace weightd {
namespace {

constexpr absl::Duration kDefaultTimeout = absl::Minutes(10);
constexpr absl::Duration kTimeoutMax = absl::Hours(24);

absl::StatusOr<absl::Duration> TimeoutOf(const v1::AttachRequest& request) {
  if (!request.has_timeout()) return kDefaultTimeout;
  const absl::Duration timeout = FromProto(request.timeout());
  if (timeout > absl::ZeroDuration() && timeout <= kTimeoutMax) return timeout;
  return ErrorWithReason(
      absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
      absl::StrCat("timeout is ", absl::FormatDuration(timeout), ", wanted above 0 and at most ",
                   absl::FormatDuration(kTimeoutMax)));
}

absl::Status CheckRequest(const v1::AttachRequest& request) {
  RETURN_IF_ERROR(CheckNames(request));
  return TimeoutOf(request).status();
}

// From the call to its end. Where something must be staged or copied first, it waits:
//
//   kWaiting --job done--> kGranting --> kGranted
//      |                      |
//      +--error, deadline, client gone--> kOver
class AttachStream final : public ClientStream<grpc::ByteBuffer> {
 public:
  AttachStream(const AttachDependencies& with, const grpc::CallbackServerContext& context)
      : with_(with), context_(context) {}

  void Begin(const absl::StatusOr<Caller>& caller, const v1::AttachRequest& request) {
    request_.set_model(Shortened(request.model()));
    request_.set_device(Shortened(request.device()));
    if (!caller.ok()) return Refuse(caller.status());
    peer_ = *caller;
    taker_ = caller->taker;
    connection_ = caller->connection;
    if (absl::Status invalid = CheckRequest(request); !invalid.ok()) return Refuse(invalid);
    request_ = request;
    const absl::StatusOr<Grant> grant = with_.leases.GrantLease(LeaseRequestFor());
    if (grant.ok()) return Granted(*grant);
    if (GetReason(grant.status()) != Reason::kModelNotResident) return Refuse(grant.status());
    Wait();
  }

 private:
  enum class Phase { kWaiting, kGranting, kGranted, kOver };

  LeaseRequest LeaseRequestFor() {
    LeaseRequest lease;
    lease.peer = peer_;
    lease.model = request_.model();
    lease.device = request_.device();
    lease.client_name = request_.client_name();
    lease.job = job_ != nullptr ? job_->id() : JobId();
    lease.asked_time = asked_time_;
    lease.on_notice = [this](const LeaseNotice& notice) { OnNotice(notice); };
    return lease;
  }

  // True for the one that may take it from `from` to `to`.
  bool Enter(Phase from, Phase to) { return phase_.compare_exchange_strong(from, to); }

  void Wait() {
    absl::StatusOr<Share> share = with_.uid_limits.Take(Cost::kWaitingAttaches, taker_);
    if (!share.ok()) return Refuse(share.status());
    waiting_share_ = *std::move(share);
    absl::StatusOr<StageTicket> ticket = with_.residency.StageForAttach(
        request_.model(), request_.device(), request_.policy() == v1::WAIT, peer_.uid);
    if (!ticket.ok()) return RefuseModel(ticket.status());
    job_ = std::move(ticket->job);
    BeginWork();
    const absl::Time deadline = absl::Now() + *TimeoutOf(request_);
    alarm_.Set(absl::ToChronoTime(deadline), [this](bool expired) {
      if (expired) OnDeadline();
      EndWork();
    });
    observer_ = job_->Observe([this](const StageSnapshot& snapshot) { OnProgress(snapshot); });
  }

  void OnProgress(const StageSnapshot& snapshot) {
    if (snapshot.phase == StagePhase::kFailed) {
      if (Enter(Phase::kWaiting, Phase::kOver)) Refuse(snapshot.status);
      return;
    }
    if (!snapshot.final()) {
      v1::AttachResponse response;
      ToProto(snapshot, *response.mutable_progress());
      return Replace(ToBytes(response));
    }
    if (!Enter(Phase::kWaiting, Phase::kGranting)) return;
    // The hold keeps what was staged for us from being evicted before we have our lease.
    auto hold = snapshot.holds.empty() ? nullptr : snapshot.holds.front();
    BeginWork();
    const auto submitted = with_.grants.Submit(peer_.uid, [this, hold = std::move(hold)]() mutable {
      GrantStaged(std::move(hold));
      EndWork();
    });
    if (submitted.ok()) return;
    Refuse(submitted.status());
    EndWork();
  }

  void GrantStaged(std::shared_ptr<const CopyHold> hold) {
    waiting_share_.Release();
    alarm_.Cancel();
    if (client_gone_.load()) {  // nobody would have the lease
      phase_.store(Phase::kOver);
      return;
    }
    const absl::StatusOr<Grant> grant = hold != nullptr
                                            ? with_.leases.GrantHeld(LeaseRequestFor(), *hold)
                                            : with_.leases.GrantLease(LeaseRequestFor());
    hold.reset();
    grant.ok() ? Granted(*grant) : Refuse(grant.status());
  }

  void Granted(const Grant& grant) {
    grant_ = grant;
    tables_ = with_.tables.Of(grant_.content);
    if (!FitsIntoGrant(grant_.content->manifest->metadata)) {
      metadata_.emplace(grant_.content->manifest->metadata);
    }
    Enqueue(ToBytes(GrantedMessage()));
    phase_.store(Phase::kGranted);
    Wake();
  }

  void OnDeadline() {
    if (!Enter(Phase::kWaiting, Phase::kOver)) return;
    Refuse(ErrorWithReason(
        absl::StatusCode::kDeadlineExceeded, Reason::kWaitTimeout,
        absl::StrCat("attach ", request_.model(), ": not resident after ",
                     absl::FormatDuration(*TimeoutOf(request_)), ", job ", job_->id().value())));
  }

  void OnClientGone() override {
    how_ended_.store(HowEnded());
    client_gone_.store(true);
    Enter(Phase::kWaiting, Phase::kOver);
    alarm_.Cancel();
  }

  void Refuse(const absl::Status& status) {
    phase_.store(Phase::kOver);
    alarm_.Cancel();
    with_.events.Publish(Event::AttachRefused({.model = request_.model(),
                                               .device = request_.device(),
                                               .job = job_ == nullptr ? JobId() : job_->id()},
                                              {.pid = peer_.pid, .uid = peer_.uid}, status));
    Close(ToGrpcStatus(status));
  }

  // Refuse(), and of a model that is not resident whether there is one: see ExplainNotResident().
  void RefuseModel(const absl::Status& status) {
    if (GetReason(status) != Reason::kModelNotResident) return Refuse(status);
    BeginWork();
    const auto submitted = with_.lookups.Submit(peer_.uid, [this, status] {
      const absl::Status known =
          ExplainNotResident(with_.catalog, request_.model(), status, Asked::kVolumes, peer_.uid);
      if (Enter(Phase::kWaiting, Phase::kOver)) Refuse(known);
      EndWork();
    });
    if (submitted.ok()) return;
    if (Enter(Phase::kWaiting, Phase::kOver)) Refuse(status);
    EndWork();
  }

  v1::AttachResponse GrantedMessage() const {
    const CopyContent& content = *grant_.content;
    v1::AttachResponse response;
    v1::Granted& granted = *response.mutable_granted();
    granted.set_lease_id(grant_.lease.value());
    granted.set_model(content.model);
    granted.set_generation_id(content.id.value());
    granted.set_device(content.device.id);
    granted.set_revision(content.revision);
    granted.set_tensor_count(content.manifest->tensors.size());
    granted.set_tensor_bytes(content.tensor_bytes);
    if (!metadata_.has_value()) {
      granted.mutable_metadata()->insert(content.manifest->metadata.begin(),
                                         content.manifest->metadata.end());
    }
    v1::Allocation& allocation = *granted.add_allocations();
    allocation.set_bytes(content.allocated_bytes);
    if (grant_.cuda_ipc_handle.empty()) {
      allocation.set_fd_index(0);
      granted.set_fd_ticket(grant_.ticket);
    } else {
      allocation.set_cuda_ipc_handle(grant_.cuda_ipc_handle);
    }
    return response;
  }

  // Metadata, tensors, `ready`, notices: asked for when there is room, so that a slow client costs
  // one batch of memory and not all of them.
  std::optional<grpc::ByteBuffer> Produce() override {
    if (phase_.load() != Phase::kGranted) return std::nullopt;
    if (ready_sent_) return NextNotice();
    if (std::optional<grpc::ByteBuffer> metadata = NextMetadata()) return metadata;
    if (auto tensors = tables_->Next(*grant_.content, place_)) {
      shared_.store(place_.shared);
      return tensors;
    }
    shared_.store(false);
    ready_sent_ = true;
    v1::AttachResponse response;
    response.mutable_ready();
    return ToBytes(response);
  }

  // What was produced last. (What is enqueued is small, and comes before the tensors or after
  // them.)
  size_t CostOf(const grpc::ByteBuffer& response) const override {
    return shared_.load() ? 0 : response.Length();
  }

  std::optional<grpc::ByteBuffer> NextMetadata() {
    if (!metadata_.has_value()) return std::nullopt;
    std::optional<v1::MetadataBatch> batch = metadata_->Next();
    if (!batch.has_value()) return std::nullopt;
    v1::AttachResponse response;
    response.mutable_metadata()->Swap(&*batch);
    return ToBytes(response);
  }

  std::optional<grpc::ByteBuffer> NextNotice() {
    v1::AttachResponse notice;
    {
      absl::MutexLock lock(&notices_mu_);
      if (notices_.empty()) return std::nullopt;
      notice.Swap(&notices_.front());
      notices_.pop_front();
    }
    return ToBytes(notice);
  }

  void OnNotice(const LeaseNotice& notice) {
    v1::AttachResponse response;
    switch (notice.kind) {
      case LeaseNotice::Kind::kSuperseded:
        response.mutable_superseded()->set_generation_id(notice.generation.value());
        break;
      case LeaseNotice::Kind::kDraining:
        ToProto(notice.deadline, *response.mutable_draining()->mutable_deadline());
        break;
      case LeaseNotice::Kind::kRevoking:
        ToProto(notice.deadline, *response.mutable_revoking()->mutable_deadline());
        break;
      case LeaseNotice::Kind::kDamaged:
        response.mutable_damaged();
        break;
      case LeaseNotice::Kind::kRevoked:
        return Close(ToGrpcStatus(ErrorWithReason(
            absl::StatusCode::kAborted, Reason::kLeaseRevoked,
            absl::StrCat(request_.model(), " was evicted by force, and the lease with it"))));
    }
    {
      absl::MutexLock lock(&notices_mu_);
      // A client that does not read needs to know of the newest generation alone.
      const bool replaces =
          response.has_superseded() && !notices_.empty() && notices_.back().has_superseded();
      if (replaces) {
        notices_.back().Swap(&response);
      } else {
        notices_.push_back(std::move(response));
      }
    }
    Wake();
  }

  void OnGone() override {
    if (job_ != nullptr) {
      job_->Unobserve(observer_);
      job_->Leave(peer_.uid);
    }
    if (phase_.load() == Phase::kGranted) with_.leases.End(grant_.lease, how_ended_.load());
  }

  // Of a call that the client, or its connection, has ended. Where a client ends both, either.
  const char* HowEnded() const {
    if (context_.deadline() <= std::chrono::system_clock::now()) {
      return "the deadline that the client set for the call has passed";
    }
    if (with_.peers.IsConnected(connection_)) return "the client cancelled the call";
    return "the connection ended: the client closed it, or its process is gone";
  }

  const AttachDependencies with_;
  const grpc::CallbackServerContext& context_;  // until OnGone() has returned
  const absl::Time asked_time_ = absl::Now();
  v1::AttachRequest request_;  // fixed after Begin, as the next two are
  Peer peer_;
  UidLimits::Taker taker_;
  std::string connection_;
  std::atomic<const char*> how_ended_ = "the daemon ended the call";
  Share waiting_share_;            // until it is over: what waited may wait for its grant
  std::shared_ptr<StageJob> job_;  // that it waited for
  uint64_t observer_ = 0;
  grpc::Alarm alarm_;
  std::atomic<bool> client_gone_ = false;
  std::atomic<Phase> phase_ = Phase::kWaiting;
  Grant grant_;                            // fixed once kGranted
  std::shared_ptr<TensorBatches> tables_;  // likewise
  // Used by Produce alone.
  std::optional<MetadataPieces> metadata_;  // where they do not fit into the grant
  TensorBatches::Place place_;
  bool ready_sent_ = false;
  std::atomic<bool> shared_ = false;
  absl::Mutex notices_mu_;
  // They may come while the grant is still being made, and are sent after `ready`.
  std::deque<v1::AttachResponse> notices_ ABSL_GUARDED_BY(notices_mu_);
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* MakeAttachStream(
    const AttachDependencies& with, const grpc::CallbackServerContext& context,
    absl::StatusOr<Caller> caller, const v1::AttachRequest& request) {
  auto* stream = new AttachStream(with, context);
  if (caller.ok()) stream->Hold(*caller);
  stream->Begin(caller, request);
  stream->Start();
  return stream;
}

}  // namespace weightd
