#ifndef WEIGHTD_DAEMON_SERVICE_STREAMS_H_
#define WEIGHTD_DAEMON_SERVICE_STREAMS_H_

#include <memory>

#include "absl/status/status.h"
#include "daemon/catalog/catalog.h"
#include "daemon/lease/lease_table.h"
#include "daemon/residency/residency.h"
#include "daemon/service/blocking_pool.h"
#include "daemon/service/caller.h"
#include "daemon/service/client_stream.h"
#include "daemon/service/peer_registry.h"
#include "daemon/service/tensor_batches.h"
#include "weightd/v1/weight_cache.pb.h"

// The streaming calls. Each Make function returns a stream that gRPC owns; one that cannot be
// served is closed with the error at once. What is referenced must outlive the server.

namespace weightd {

// What an attach works with.
struct AttachDependencies {
  const Catalog& catalog;
  LeaseTable& leases;
  Residency& residency;
  EventLog& events;
  BlockingPool& grants;   // of what was waited for: its threads wait for nothing but the driver
  BlockingPool& lookups;  // of models that nobody knows: its threads wait for volumes
  TensorBatchCache& tables;
  UidLimits& uid_limits;
  const PeerRegistry& peers;
};

// Attach: progress where something must be staged or copied first, grant, metadata, tensors in
// batches, ready, notices. The stream is the lease. Its messages are bytes, since most of them are
// the same for all who attach.
grpc::ServerWriteReactor<grpc::ByteBuffer>* MakeAttachStream(
    const AttachDependencies& with, const grpc::CallbackServerContext& context,
    absl::StatusOr<Caller> caller, const v1::AttachRequest& request);

// WatchModels: what is in memory, after each change; slow readers get the latest state only.
grpc::ServerWriteReactor<v1::WatchModelsResponse>* MakeModelStream(
    const Residency& residency, EventLog& events, absl::StatusOr<Caller> caller,
    const v1::WatchModelsRequest& request);

// StageModel: the job's progress; slow readers get the latest state only.
grpc::ServerWriteReactor<v1::StageModelResponse>* MakeStageStream(
    Residency& residency, EventLog& events, absl::StatusOr<Caller> caller,
    const v1::StageModelRequest& request);

// WatchEvents: a reader that is too slow misses events, and costs no memory.
grpc::ServerWriteReactor<v1::WatchEventsResponse>* MakeEventStream(
    EventLog& events, absl::StatusOr<Caller> caller, const v1::WatchEventsRequest& request);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_STREAMS_H_
