#include <grpcpp/alarm.h>

#include <atomic>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/service/grpc_status.h"
#include "daemon/service/proto_convert.h"
#include "daemon/service/streams.h"

namespace weightd {
namespace {

// A message stays below 1 MiB (gRPC's default limit is 4 MiB); names are counted, the rest is
// small.
constexpr size_t kBatchBytesMax = 768 * kKiB;
constexpr size_t kTensorOverheadBytes = 100;
constexpr size_t kClientNameBytesMax = 64;

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
  RETURN_IF_ERROR(TimeoutOf(request).status());
  if (request.client_name().size() <= kClientNameBytesMax) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         absl::StrCat("client_name has ", request.client_name().size(),
                                      " bytes, at most ", kClientNameBytesMax));
}

// From the call to its end. Where something must be staged or copied first, it waits:
//
//   kWaiting --job done--> kGranting --> kGranted
//      |                      |
//      +--error, deadline, client gone--> kOver
class AttachStream final : public OutgoingStream<v1::AttachResponse> {
 public:
  explicit AttachStream(const AttachDependencies& with) : with_(with) {}

  void Begin(const absl::StatusOr<Peer>& peer, const v1::AttachRequest& request) {
    request_ = request;
    if (!peer.ok()) return Refuse(peer.status());
    peer_ = *peer;
    if (absl::Status invalid = CheckRequest(request); !invalid.ok()) return Refuse(invalid);
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
    absl::StatusOr<StageTicket> ticket = with_.residency.StageForAttach(
        request_.model(), request_.device(), request_.policy() == v1::WAIT, peer_.uid);
    if (!ticket.ok()) return Refuse(ticket.status());
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
      return Replace(std::move(response));
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
    Enqueue(GrantedMessage());
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
    client_gone_.store(true);
    Enter(Phase::kWaiting, Phase::kOver);
    alarm_.Cancel();
  }

  void Refuse(const absl::Status& status) {
    phase_.store(Phase::kOver);
    alarm_.Cancel();
    Event event;
    event.type = EventType::kAttachRefused;
    event.model = request_.model();
    event.device = request_.device();
    event.pid = peer_.pid;
    event.uid = peer_.uid;
    event.detail = std::string(status.message());
    event.reason = std::string(ReasonWord(status));
    if (job_ != nullptr) event.job_id = job_->id().value();
    with_.events.Publish(std::move(event));
    Close(ToGrpcStatus(status));
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
    granted.mutable_metadata()->insert(content.manifest->metadata.begin(),
                                       content.manifest->metadata.end());
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

  // Tensors in batches, then `ready`, then notices; asked for when there is room, so that a slow
  // client costs one batch of memory and not all of them.
  std::optional<v1::AttachResponse> Produce() override {
    if (phase_.load() != Phase::kGranted) return std::nullopt;
    if (ready_sent_) return NextNotice();
    v1::AttachResponse response;
    if (next_tensor_ == grant_.content->manifest->tensors.size()) {
      ready_sent_ = true;
      response.mutable_ready();
    } else {
      FillBatch(*response.mutable_tensors());
    }
    return response;
  }

  void FillBatch(v1::TensorBatch& batch) {
    const CopyContent& content = *grant_.content;
    size_t bytes = 0;
    while (next_tensor_ < content.manifest->tensors.size() && bytes < kBatchBytesMax) {
      const TensorEntry& tensor = content.manifest->tensors[next_tensor_];
      bytes += tensor.name.size() + tensor.shape.size() * 10 + kTensorOverheadBytes;
      if (bytes > kBatchBytesMax && batch.tensors_size() > 0) break;
      v1::Tensor& to = *batch.add_tensors();
      ToProto(*content.manifest, next_tensor_, to);
      to.set_offset(content.layout->tensor_offsets[next_tensor_]);
      if (content.digests != nullptr) to.set_xxh3_128(DigestText((*content.digests)[next_tensor_]));
      ++next_tensor_;
    }
  }

  std::optional<v1::AttachResponse> NextNotice() {
    absl::MutexLock lock(&notices_mu_);
    if (notices_.empty()) return std::nullopt;
    v1::AttachResponse notice = std::move(notices_.front());
    notices_.pop_front();
    return notice;
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
      job_->Leave();
    }
    if (phase_.load() == Phase::kGranted) with_.leases.End(grant_.lease, "stream ended");
  }

  const AttachDependencies with_;
  const absl::Time asked_time_ = absl::Now();
  v1::AttachRequest request_;  // fixed after Begin, as the next two are
  Peer peer_;
  std::shared_ptr<StageJob> job_;  // that it waited for
  uint64_t observer_ = 0;
  grpc::Alarm alarm_;
  std::atomic<bool> client_gone_ = false;
  std::atomic<Phase> phase_ = Phase::kWaiting;
  Grant grant_;              // fixed once kGranted
  size_t next_tensor_ = 0;   // used by Produce alone
  bool ready_sent_ = false;  // likewise
  absl::Mutex notices_mu_;
  // They may come while the grant is still being made, and are sent after `ready`.
  std::deque<v1::AttachResponse> notices_ ABSL_GUARDED_BY(notices_mu_);
};

}  // namespace

grpc::ServerWriteReactor<v1::AttachResponse>* MakeAttachStream(const AttachDependencies& with,
                                                               const absl::StatusOr<Peer>& peer,
                                                               const v1::AttachRequest& request) {
  auto* stream = new AttachStream(with);
  stream->Begin(peer, request);
  stream->Start();
  return stream;
}

}  // namespace weightd
