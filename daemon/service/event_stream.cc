#include <algorithm>
#include <memory>
#include <optional>

#include "daemon/service/grpc_status.h"
#include "daemon/service/proto_convert.h"
#include "daemon/service/streams.h"

namespace weightd {
namespace {

constexpr uint32_t kReplayMax = 1024;

// Takes one event after another from those that the log keeps for all, when there is room for it:
// a client that does not read costs one message, and misses what the log forgets meanwhile.
class EventStream final : public ClientStream<v1::WatchEventsResponse> {
 public:
  void Begin(EventLog& events, const absl::Status& refused, uint32_t replay) {
    if (!refused.ok()) return Close(ToGrpcStatus(refused));
    events_ = &events;
    told_ = events.SequenceBefore(std::min(replay, kReplayMax));
    follower_ = events.Follow([this] { Wake(); });
  }

 private:
  std::optional<v1::WatchEventsResponse> Produce() override {
    if (events_ == nullptr || drains_) return std::nullopt;
    const std::shared_ptr<const Event> event = events_->Next(told_);
    if (event == nullptr) return std::nullopt;
    told_ = event->sequence;
    v1::WatchEventsResponse response;
    ToProto(*event, *response.mutable_event());
    // The last event: a watcher must not hold up the daemon's end.
    drains_ = event->type == EventType::kDrainStarted;
    if (drains_) Close(grpc::Status::OK);
    return response;
  }

  void OnGone() override {
    if (events_ != nullptr) events_->Unwatch(follower_);
  }

  EventLog* events_ = nullptr;  // fixed after Begin
  uint64_t follower_ = 0;       // likewise
  uint64_t told_ = 0;           // used by Produce alone, as the next is
  bool drains_ = false;
};

}  // namespace

grpc::ServerWriteReactor<v1::WatchEventsResponse>* MakeEventStream(
    EventLog& events, absl::StatusOr<Caller> caller, const v1::WatchEventsRequest& request) {
  auto* stream = new EventStream();
  if (caller.ok()) stream->Hold(*caller);
  stream->Begin(events, caller.status(), request.replay());
  stream->Start();
  return stream;
}

}  // namespace weightd
