#include "tests/integration/daemon/grpc_calls.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "client/cpp/daemon_connection.h"
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

// On the wire a HealthCheckRequest is a StringValue, a HealthCheckResponse an Int32Value.
std::string CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(
      channel);
  grpc::ClientContext context;
  google::protobuf::StringValue request;
  request.set_value(service);
  google::protobuf::Int32Value response;
  grpc::Status status;
  absl::Notification done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                 [&](grpc::Status result) {
                   status = std::move(result);
                   done.Notify();
                 });
  done.WaitForNotification();
  if (!status.ok()) return ErrorText(status);
  if (response.value() == 1) return "SERVING";
  return response.value() == 2 ? "NOT_SERVING" : absl::StrCat("status ", response.value());
}

std::string ListServices(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  WaitForOperation(queue);
  const grpc::Slice request(kListServices, sizeof(kListServices) - 1);
  call->Write(grpc::ByteBuffer(&request, 1), nullptr);
  WaitForOperation(queue);
  grpc::ByteBuffer response;
  call->Read(&response, nullptr);
  const bool answered = WaitForOperation(queue);
  call->WritesDone(nullptr);
  WaitForOperation(queue);
  grpc::Status status;
  call->Finish(&status, nullptr);
  WaitForOperation(queue);
  return answered ? Bytes(response) : ErrorText(status);
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
