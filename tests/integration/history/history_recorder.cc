#include "tests/integration/history/history_recorder.h"

#include <utility>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/integration/daemon/grpc_calls.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(5);

}  // namespace

HistoryRecorder::HistoryRecorder(const std::string& socket_dir)
    : channel_(Connect(socket_dir)), stub_(v1::WeightCache::NewStub(channel_)) {
  threads_.emplace_back([this] { RecordEvents(); });
  threads_.emplace_back([this] { RecordModels(); });
  threads_.emplace_back([this] { RecordStatus(); });
}

HistoryRecorder::~HistoryRecorder() { Stop(); }

void HistoryRecorder::Stop() {
  if (!stop_.HasBeenNotified()) stop_.Notify();
  events_context_.TryCancel();
  models_context_.TryCancel();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void HistoryRecorder::Finish(History& history) {
  const uint64_t last = LastSequence();
  {
    absl::MutexLock lock(&mu_);
    const auto all_here = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return events_ended_ || (!events_.empty() && events_.back().sequence() >= last);
    };
    EXPECT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&all_here), kPatience))
        << "event " << last << " did not come";
  }
  Stop();
  absl::MutexLock lock(&mu_);
  history.events = std::move(events_);
  history.usage = std::move(usage_);
  history.leases = std::move(leases_);
  history.generations.assign(generations_.begin(), generations_.end());
}

uint64_t HistoryRecorder::LastSequence() {
  grpc::ClientContext context;
  v1::WatchEventsRequest request;
  request.set_replay(1);
  const auto reader = stub_->WatchEvents(&context, request);
  v1::WatchEventsResponse response;
  const uint64_t last = reader->Read(&response) ? response.event().sequence() : 0;
  context.TryCancel();
  (void)reader->Finish();
  return last;
}

void HistoryRecorder::RecordEvents() {
  v1::WatchEventsRequest request;
  request.set_replay(1024);
  const auto reader = stub_->WatchEvents(&events_context_, request);
  v1::WatchEventsResponse response;
  while (reader->Read(&response)) {
    absl::MutexLock lock(&mu_);
    events_.push_back(std::move(*response.mutable_event()));
  }
  absl::MutexLock lock(&mu_);
  events_ended_ = true;
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

void HistoryRecorder::RecordModels() {
  const auto reader = stub_->WatchModels(&models_context_, v1::WatchModelsRequest());
  v1::WatchModelsResponse response;
  while (reader->Read(&response)) {
    absl::MutexLock lock(&mu_);
    for (const v1::Model& model : response.models()) {
      for (const v1::Generation& generation : model.generations()) {
        generations_.insert({.generation_id = generation.id(), .model = model.name()});
      }
    }
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

void HistoryRecorder::RecordStatus() {
  do {
    AskStatus();
    AskLeases();
  } while (!stop_.WaitForNotificationWithTimeout(kPause));
}

void HistoryRecorder::AskStatus() {
  grpc::ClientContext context;
  v1::GetStatusResponse response;
  const grpc::Status status = stub_->GetStatus(&context, v1::GetStatusRequest(), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  absl::MutexLock lock(&mu_);
  for (const v1::Device& device : response.devices()) {
    usage_.push_back({.device = device.id(),
                      .used_bytes = device.used_bytes(),
                      .budget_bytes = device.budget_bytes()});
  }
}

void HistoryRecorder::AskLeases() {
  grpc::ClientContext context;
  v1::ListLeasesResponse response;
  const absl::Time asked_time = absl::Now();
  const grpc::Status status = stub_->ListLeases(&context, v1::ListLeasesRequest(), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  absl::MutexLock lock(&mu_);
  for (const v1::Lease& lease : response.leases()) {
    leases_.push_back({.asked_time = asked_time, .lease_id = lease.id(), .pid = lease.pid()});
  }
}

}  // namespace weightd::testing
