#include "tests/integration/daemon/grpc_calls.h"

#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cpp/daemon_connection.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

// ServerReflectionRequest{list_services: "*"}: field 7, length-delimited, one byte.
constexpr char kListServices[] = "\x3a\x01*";

std::string Bytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return "";
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

std::string ErrorText(const grpc::Status& status) {
  return absl::StrCat("error ", static_cast<int>(status.error_code()), ": ",
                      status.error_message());
}

// Waits for the one operation that was started.
bool WaitForOperation(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  return queue.Next(&tag, &ok) && ok;
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect(const std::string& socket_dir) {
  auto channel = client::OpenChannel(socket_dir, absl::Now() + kPatience);
  if (channel.ok()) return *std::move(channel);
  ADD_FAILURE() << channel.status();
  return nullptr;
}

std::string CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  using grpc::health::v1::HealthCheckResponse;
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  const grpc::Status status =
      grpc::health::v1::Health::NewStub(channel)->Check(&context, request, &response);
  if (!status.ok()) return ErrorText(status);
  if (response.status() == HealthCheckResponse::SERVING) return "SERVING";
  return response.status() == HealthCheckResponse::NOT_SERVING
             ? "NOT_SERVING"
             : absl::StrCat("status ", static_cast<int>(response.status()));
}

ReflectionStream::ReflectionStream(const std::shared_ptr<grpc::Channel>& channel) : stub_(channel) {
  call_ = stub_.PrepareCall(
      &context_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue_);
  call_->StartCall(nullptr);
  WaitForOperation(queue_);
  const grpc::Slice request(kListServices, sizeof(kListServices) - 1);
  call_->Write(grpc::ByteBuffer(&request, 1), nullptr);
  WaitForOperation(queue_);
  grpc::ByteBuffer response;
  call_->Read(&response, nullptr);
  if (WaitForOperation(queue_)) {
    answer_ = Bytes(response);
    return;
  }
  End();
  answer_ = ErrorText(status_);
}

ReflectionStream::~ReflectionStream() {
  if (is_over_) return;
  call_->WritesDone(nullptr);
  WaitForOperation(queue_);
  End();
}

void ReflectionStream::End() {
  call_->Finish(&status_, nullptr);
  WaitForOperation(queue_);
  is_over_ = true;
}

absl::Status Stage(const std::shared_ptr<grpc::Channel>& channel, const std::string& model) {
  const auto stub = v1::WeightCache::NewStub(channel);
  grpc::ClientContext context;
  v1::StageModelRequest request;
  request.set_model(model);
  const auto reader = stub->StageModel(&context, request);
  v1::StageModelResponse response;
  while (reader->Read(&response)) {
  }
  return client::FromRpcStatus(reader->Finish());
}

RawAttach::RawAttach(const std::shared_ptr<grpc::Channel>& channel, const std::string& model)
    : stub_(v1::WeightCache::NewStub(channel)) {
  v1::AttachRequest request;
  request.set_model(model);
  reader_ = stub_->Attach(&context_, request);
  v1::AttachResponse response;
  if (reader_->Read(&response) && response.has_granted()) {
    granted_ = response.granted();
  } else {
    ADD_FAILURE() << "no grant for " << model;
  }
}

RawAttach::~RawAttach() {
  context_.TryCancel();
  (void)reader_->Finish();
}

}  // namespace weightd::testing
