#include <grpcpp/alarm.h>

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "daemon/service/grpc_status.h"
#include "daemon/service/model_listing.h"
#include "daemon/service/streams.h"

namespace weightd {
namespace {

// Changes within this time are one message.
constexpr absl::Duration kInterval = absl::Milliseconds(100);
// Events do not tell how far a job is: while one stages, look again after this.
constexpr absl::Duration kProgressInterval = absl::Milliseconds(500);

// One alarm at a time: set by an event or by a list with something in it that is being staged; when
// it is due a list is made, if there is room for it.
class ModelStream final : public OutgoingStream<v1::WatchModelsResponse> {
 public:
  ModelStream(const Residency& residency, EventLog& events, std::string only)
      : residency_(residency), events_(events), only_(std::move(only)) {}

  void Begin(const absl::StatusOr<Peer>& peer) {
    if (!peer.ok()) return Close(ToGrpcStatus(peer.status()));
    watcher_ = events_.Watch([this](const Event& event) {
      if (event.type == EventType::kDrainStarted) {
        over_.store(true);
        return Close(grpc::Status::OK);
      }
      SetAlarm(kInterval);
    });
    is_watching_ = true;
  }

 private:
  void SetAlarm(absl::Duration in) {
    if (over_.load() || alarm_set_.exchange(true)) return;
    BeginWork();
    // A new one: this may be the callback of the one before.
    auto alarm = std::make_shared<grpc::Alarm>();
    grpc::Alarm& set = *alarm;
    {
      absl::MutexLock lock(&alarm_mu_);
      alarm_.swap(alarm);
    }
    set.Set(absl::ToChronoTime(absl::Now() + in), [this](bool) {
      alarm_set_.store(false);
      due_.store(true);
      Wake();
      EndWork();
    });
  }

  std::optional<v1::WatchModelsResponse> Produce() override {
    if (!due_.exchange(false)) return std::nullopt;
    v1::WatchModelsResponse response;
    ListResident(residency_, only_, *response.mutable_models());
    for (const v1::Model& model : response.models()) {
      for (const v1::Generation& generation : model.generations()) {
        if (generation.state() == v1::STAGING) SetAlarm(kProgressInterval);
      }
    }
    return response;
  }

  void OnClientGone() override {
    over_.store(true);
    std::shared_ptr<grpc::Alarm> alarm;
    {
      absl::MutexLock lock(&alarm_mu_);
      alarm = alarm_;
    }
    if (alarm != nullptr) alarm->Cancel();
  }

  void OnGone() override {
    if (is_watching_) events_.Unwatch(watcher_);
  }

  const Residency& residency_;
  EventLog& events_;
  const std::string only_;
  uint64_t watcher_ = 0;  // fixed after Begin, as the next is
  bool is_watching_ = false;
  std::atomic<bool> due_ = true;  // the first list is due at once
  std::atomic<bool> alarm_set_ = false;
  std::atomic<bool> over_ = false;
  absl::Mutex alarm_mu_;
  std::shared_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(alarm_mu_);
};

}  // namespace

grpc::ServerWriteReactor<v1::WatchModelsResponse>* MakeModelStream(
    const Residency& residency, EventLog& events, const absl::StatusOr<Peer>& peer,
    const v1::WatchModelsRequest& request) {
  auto* stream = new ModelStream(residency, events, request.model());
  stream->Begin(peer);
  stream->Start();
  return stream;
}

}  // namespace weightd
