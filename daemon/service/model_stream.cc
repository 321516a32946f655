#include <grpcpp/alarm.h>

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "daemon/service/grpc_status.h"
#include "daemon/service/model_listing.h"
#include "daemon/service/pages.h"
#include "daemon/service/request_names.h"
#include "daemon/service/streams.h"

namespace weightd {
namespace {

// Changes within this time are one message.
constexpr absl::Duration kInterval = absl::Milliseconds(100);
// Events do not tell how far a job is: while one stages, look again after this.
constexpr absl::Duration kProgressInterval = absl::Milliseconds(500);

// One alarm at a time: set by an event or by a list with something in it that is being staged; when
// it is due a list is made, if there is room for it.
class ModelStream final : public ClientStream<v1::WatchModelsResponse> {
 public:
  ModelStream(const Residency& residency, EventLog& events, std::string only)
      : residency_(residency), events_(events), only_(std::move(only)) {}

  void Begin(const absl::Status& refused) {
    if (!refused.ok()) return Close(ToGrpcStatus(refused));
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
    if (!parts_.empty()) return NextPart();
    if (!due_.exchange(false)) return std::nullopt;
    v1::WatchModelsResponse response;
    ListResident(residency_, only_, *response.mutable_models());
    for (const v1::Model& model : response.models()) {
      for (const v1::Generation& generation : model.generations()) {
        if (generation.state() == v1::STAGING) SetAlarm(kProgressInterval);
      }
    }
    for (v1::WatchModelsResponse& part : Split(std::move(response))) {
      parts_.push_back(std::move(part));
    }
    return NextPart();
  }

  v1::WatchModelsResponse NextPart() {
    v1::WatchModelsResponse part = std::move(parts_.front());
    parts_.pop_front();
    return part;
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
  std::deque<v1::WatchModelsResponse> parts_;  // of a list, used by Produce alone
  std::atomic<bool> due_ = true;               // the first list is due at once
  std::atomic<bool> alarm_set_ = false;
  std::atomic<bool> over_ = false;
  absl::Mutex alarm_mu_;
  std::shared_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(alarm_mu_);
};

}  // namespace

grpc::ServerWriteReactor<v1::WatchModelsResponse>* MakeModelStream(
    const Residency& residency, EventLog& events, absl::StatusOr<Caller> caller,
    const v1::WatchModelsRequest& request) {
  auto* stream = new ModelStream(residency, events, Shortened(request.model()));
  if (caller.ok()) stream->Hold(*caller);
  absl::Status refused = caller.status();
  if (refused.ok()) refused = CheckNames(request.model());
  stream->Begin(refused);
  stream->Start();
  return stream;
}

}  // namespace weightd
