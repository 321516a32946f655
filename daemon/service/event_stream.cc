#include <algorithm>
#include <utility>

#include "daemon/service/grpc_status.h"
#include "daemon/service/proto_convert.h"
#include "daemon/service/streams.h"

namespace weightd {
namespace {

constexpr uint32_t kReplayMax = 1024;
// Events that wait for a slow reader; beyond, new ones are dropped and the sequence shows it.
constexpr size_t kQueuedMax = 2048;

class EventStream final : public OutgoingStream<v1::WatchEventsResponse> {
 public:
  void Begin(EventLog& events, const absl::StatusOr<Peer>& peer, uint32_t replay) {
    if (!peer.ok()) return Close(ToGrpcStatus(peer.status()));
    events_ = &events;
    watcher_ = events.Watch(std::min(replay, kReplayMax), [this](const Event& event) {
      if (queued() >= kQueuedMax) return;
      v1::WatchEventsResponse response;
      ToProto(event, *response.mutable_event());
      Enqueue(std::move(response));
      // The last event: a watcher must not hold up the daemon's end.
      if (event.type == EventType::kDrainStarted) Close(grpc::Status::OK);
    });
  }

 private:
  void OnGone() override {
    if (events_ != nullptr) events_->Unwatch(watcher_);
  }

  EventLog* events_ = nullptr;  // fixed after Begin
  uint64_t watcher_ = 0;
};

}  // namespace

grpc::ServerWriteReactor<v1::WatchEventsResponse>* MakeEventStream(
    EventLog& events, const absl::StatusOr<Peer>& peer, const v1::WatchEventsRequest& request) {
  auto* stream = new EventStream();
  stream->Begin(events, peer, request.replay());
  stream->Start();
  return stream;
}

}  // namespace weightd
