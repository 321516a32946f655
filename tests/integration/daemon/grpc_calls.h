#ifndef WEIGHTD_TESTS_INTEGRATION_DAEMON_GRPC_CALLS_H_
#define WEIGHTD_TESTS_INTEGRATION_DAEMON_GRPC_CALLS_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

// Calls at the wire, from the test's own process, for what neither the library nor weightctl shows.

namespace weightd::testing {

// A connection to the daemon, made now; a null channel after a failure of the test.
std::shared_ptr<grpc::Channel> Connect(const std::string& socket_dir);

// grpc.health.v1.Health/Check of `service`: "SERVING", "NOT_SERVING", or the call's error.
std::string CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service);

// A stream of grpc.reflection.v1alpha that has asked for list_services. Ends with the object.
class ReflectionStream {
 public:
  explicit ReflectionStream(const std::shared_ptr<grpc::Channel>& channel);
  ReflectionStream(const ReflectionStream&) = delete;
  ReflectionStream& operator=(const ReflectionStream&) = delete;
  ~ReflectionStream();

  // The answer's bytes, in which the names stand in plain, or the call's error.
  const std::string& answer() const { return answer_; }

 private:
  void End();

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  grpc::Status status_;
  bool is_over_ = false;
  std::string answer_;
};

// StageModel until its end; an error with the reason and the metadata that came with it.
absl::Status Stage(const std::shared_ptr<grpc::Channel>& channel, const std::string& model);

// An attach whose messages the test sees. Ends with the object.
class RawAttach {
 public:
  RawAttach(const std::shared_ptr<grpc::Channel>& channel, const std::string& model);
  RawAttach(const RawAttach&) = delete;
  RawAttach& operator=(const RawAttach&) = delete;
  ~RawAttach();

  const v1::Granted& granted() const { return granted_; }

 private:
  const std::unique_ptr<v1::WeightCache::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::AttachResponse>> reader_;
  v1::Granted granted_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_DAEMON_GRPC_CALLS_H_
