#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "daemon/service/grpc_status.h"
#include "daemon/service/proto_convert.h"
#include "daemon/service/streams.h"

namespace weightd {
namespace {

// A message stays below 1 MiB (gRPC's default limit is 4 MiB); names are counted, the rest is
// small.
constexpr size_t kBatchBytesMax = 768 * kKiB;
constexpr size_t kTensorOverheadBytes = 64;
constexpr size_t kClientNameBytesMax = 64;

class AttachStream final : public OutgoingStream<v1::AttachResponse> {
 public:
  AttachStream(LeaseTable& leases, EventLog& events, absl::Duration drain_grace)
      : leases_(leases), events_(events), drain_grace_(drain_grace) {}

  void Begin(const absl::StatusOr<Peer>& peer, const v1::AttachRequest& request) {
    if (!peer.ok()) return Refuse(peer.status(), Peer{}, request);
    if (request.client_name().size() > kClientNameBytesMax) {
      return Refuse(ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                                    absl::StrCat("client_name has ", request.client_name().size(),
                                                 " bytes, at most ", kClientNameBytesMax)),
                    *peer, request);
    }
    LeaseRequest lease;
    lease.peer = *peer;
    lease.model = request.model();
    lease.device = request.device();
    lease.client_name = request.client_name();
    lease.on_notice = [this](LeaseNotice notice, GenerationId generation) {
      OnNotice(notice, generation);
    };
    absl::StatusOr<Grant> grant = leases_.GrantLease(std::move(lease));
    if (!grant.ok()) return Refuse(grant.status(), *peer, request);
    grant_ = *std::move(grant);
    Enqueue(GrantedMessage());
  }

 private:
  void Refuse(const absl::Status& status, const Peer& peer, const v1::AttachRequest& request) {
    Event event;
    event.type = EventType::kAttachRefused;
    event.model = request.model();
    event.device = request.device();
    event.pid = peer.pid;
    event.uid = peer.uid;
    event.detail = std::string(status.message());
    if (const auto reason = GetReason(status)) event.reason = std::string(ReasonName(*reason));
    events_.Publish(std::move(event));
    Close(ToGrpcStatus(status));
  }

  v1::AttachResponse GrantedMessage() const {
    const GenerationContent& content = *grant_.content;
    v1::AttachResponse response;
    v1::Granted& granted = *response.mutable_granted();
    granted.set_lease_id(grant_.lease.value());
    granted.set_model(content.model);
    granted.set_generation_id(content.id.value());
    granted.set_device(content.device.id);
    granted.set_revision(content.revision);
    granted.set_tensor_count(content.manifest.tensors.size());
    granted.set_tensor_bytes(content.tensor_bytes);
    granted.mutable_metadata()->insert(content.manifest.metadata.begin(),
                                       content.manifest.metadata.end());
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
    if (grant_.content == nullptr) return std::nullopt;
    if (ready_sent_) return NextNotice();
    v1::AttachResponse response;
    if (next_tensor_ == grant_.content->manifest.tensors.size()) {
      ready_sent_ = true;
      response.mutable_ready();
    } else {
      FillBatch(*response.mutable_tensors());
    }
    return response;
  }

  void FillBatch(v1::TensorBatch& batch) {
    const GenerationContent& content = *grant_.content;
    size_t bytes = 0;
    while (next_tensor_ < content.manifest.tensors.size() && bytes < kBatchBytesMax) {
      const TensorEntry& tensor = content.manifest.tensors[next_tensor_];
      bytes += tensor.name.size() + tensor.shape.size() * 10 + kTensorOverheadBytes;
      if (bytes > kBatchBytesMax && batch.tensors_size() > 0) break;
      v1::Tensor& to = *batch.add_tensors();
      ToProto(tensor, to);
      to.set_offset(content.layout.tensor_offsets[next_tensor_]);
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

  void OnNotice(LeaseNotice notice, GenerationId generation) {
    v1::AttachResponse response;
    if (notice == LeaseNotice::kSuperseded) {
      response.mutable_superseded()->set_generation_id(generation.value());
    } else {
      ToProto(absl::Now() + drain_grace_, *response.mutable_draining()->mutable_deadline());
    }
    {
      absl::MutexLock lock(&notices_mu_);
      notices_.push_back(std::move(response));
    }
    Wake();
  }

  void OnGone() override { leases_.End(grant_.lease, "stream ended"); }

  LeaseTable& leases_;
  EventLog& events_;
  const absl::Duration drain_grace_;
  Grant grant_;              // fixed after Begin
  size_t next_tensor_ = 0;   // used by Produce alone
  bool ready_sent_ = false;  // likewise
  absl::Mutex notices_mu_;
  // They may come while the grant is still being made, and are sent after `ready`.
  std::deque<v1::AttachResponse> notices_ ABSL_GUARDED_BY(notices_mu_);
};

}  // namespace

grpc::ServerWriteReactor<v1::AttachResponse>* MakeAttachStream(LeaseTable& leases, EventLog& events,
                                                               const absl::StatusOr<Peer>& peer,
                                                               const v1::AttachRequest& request,
                                                               absl::Duration drain_grace) {
  auto* stream = new AttachStream(leases, events, drain_grace);
  stream->Begin(peer, request);
  stream->Start();
  return stream;
}

}  // namespace weightd
