#include "tests/integration/history/history_operator.h"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/client_context.h>

#include "absl/strings/str_cat.h"
#include "client/cpp/daemon_connection.h"
#include "client/cpp/public_status.h"
#include "tests/integration/daemon/grpc_calls.h"
#include "tests/integration/history/history_model.h"

namespace weightd::testing {
namespace {

using google::protobuf::util::TimeUtil;

constexpr int kPauseMinMs = 2;
constexpr int kPauseMaxMs = 25;

}  // namespace

HistoryOperator::HistoryOperator(const OperatorOptions& options)
    : options_(options),
      channel_(Connect(options.socket_dir)),
      stub_(v1::WeightCache::NewStub(channel_)),
      random_(options.seed) {}

void HistoryOperator::WorkUntil(const absl::Notification& stop) {
  std::uniform_int_distribution<int> pause(kPauseMinMs, kPauseMaxMs);
  std::uniform_int_distribution<size_t> any_model(0, HistoryModels().size() - 1);
  std::discrete_distribution<int> any_call({45, 20, 10, 10, 15});
  while (!stop.WaitForNotificationWithTimeout(absl::Milliseconds(pause(random_)))) {
    const std::string& model = HistoryModels()[any_model(random_)].name;
    switch (any_call(random_)) {
      case 0:
        Stage(model);
        break;
      case 1:
        Evict(model, /*force=*/false);
        break;
      case 2:
        Evict(model, /*force=*/true);
        break;
      case 3:
        Pin(model);
        break;
      default:
        Unpin();
        break;
    }
  }
}

const std::string& HistoryOperator::AnyDevice() {
  return options_.devices[random_() % options_.devices.size()];
}

bool HistoryOperator::Chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

void HistoryOperator::Note(const char* call, const std::string& model, const grpc::Status& status) {
  const client::Status shown = client::ToPublicStatus(client::FromRpcStatus(status));
  answers_.push_back({.call = call, .model = model, .result = shown.ToString()});
}

// Sometimes it leaves before the end.
void HistoryOperator::Stage(const std::string& model) {
  grpc::ClientContext context;
  v1::StageModelRequest request;
  request.set_model(model);
  request.add_devices(AnyDevice());
  request.set_detached(Chance(0.2));
  request.set_restage(Chance(0.2));
  const bool leaves = Chance(0.2);
  const auto reader = stub_->StageModel(&context, request);
  v1::StageModelResponse response;
  while (reader->Read(&response)) {
    if (leaves) context.TryCancel();
  }
  Note(leaves ? "stage and leave" : "stage", model, reader->Finish());
}

void HistoryOperator::Evict(const std::string& model, bool force) {
  grpc::ClientContext context;
  v1::EvictModelRequest request;
  request.set_model(model);
  if (Chance(0.5)) request.set_device(AnyDevice());
  request.set_force(force);
  if (force) {
    const absl::Duration grace = options_.graces[random_() % options_.graces.size()];
    *request.mutable_grace() = TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(grace));
  }
  v1::EvictModelResponse response;
  const grpc::Status status = stub_->EvictModel(&context, request, &response);
  Note(force ? "evict by force" : "evict", model, status);
}

void HistoryOperator::Pin(const std::string& model) {
  Unpin();
  grpc::ClientContext context;
  v1::PinModelRequest request;
  request.set_model(model);
  v1::PinModelResponse response;
  const grpc::Status status = stub_->PinModel(&context, request, &response);
  if (status.ok()) pinned_ = model;
  Note("pin", model, status);
}

void HistoryOperator::Unpin() {
  if (pinned_.empty()) return;
  Note("unpin", pinned_, Unpin(pinned_));
  pinned_.clear();
}

grpc::Status HistoryOperator::Unpin(const std::string& model) {
  grpc::ClientContext context;
  v1::UnpinModelRequest request;
  request.set_model(model);
  v1::UnpinModelResponse response;
  return stub_->UnpinModel(&context, request, &response);
}

bool HistoryOperator::EvictAll() {
  Unpin();
  grpc::ClientContext list_context;
  v1::ListModelsRequest list_request;
  list_request.set_resident_only(true);
  v1::ListModelsResponse listed;
  if (!stub_->ListModels(&list_context, list_request, &listed).ok()) return false;
  for (const v1::Model& model : listed.models()) {
    // Another operator's pin may have been left.
    (void)Unpin(model.name());
    grpc::ClientContext context;
    v1::EvictModelRequest request;
    request.set_model(model.name());
    v1::EvictModelResponse response;
    (void)stub_->EvictModel(&context, request, &response);
  }
  return listed.models_size() == 0;
}

}  // namespace weightd::testing
