#ifndef WEIGHTD_CLIENT_CPP_ATTACH_STREAM_H_
#define WEIGHTD_CLIENT_CPP_ATTACH_STREAM_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <weightd/client.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/cpp/tensor_table.h"
#include "common/socket_paths.h"
#include "google/protobuf/arena.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

namespace weightd::client {

// Called on gRPC's threads, one at a time. Empty ones are not.
struct AttachCallbacks {
  std::function<void(const Notice&)> on_notice;
  std::function<void(const Progress&)> on_progress;
};

// One open Attach call, which is one lease: it reads the grant, then holds the stream open.
//
// Messages are handled on gRPC's threads, one at a time:
//
//   kStart --progress*--> kWaiting --granted--> kGranted --metadata*, tensors*, ready--> kReady
//   --notices*--> kEnded
//
// straight from kStart to kGranted where there is nothing to wait for,
// and from every state to kEnded when the call ends or a message breaks the protocol. Thread-safe.
class AttachStream final : private grpc::ClientReadReactor<v1::AttachResponse> {
 public:
  // Starts the call. `socket_dir` is for the diagnosis of a call that dies.
  AttachStream(std::shared_ptr<grpc::Channel> channel, const v1::AttachRequest& request,
               SocketDirectory socket_dir, AttachCallbacks callbacks);
  // Ends the call, and with it the lease; waits until the last callback has returned.
  ~AttachStream() override;

  // Waits for the grant, or for all tensors. While the daemon stages or copies the model, the grant
  // may come until `wait_deadline`. DEADLINE_EXCEEDED, INTERNAL for a message that breaks
  // the protocol, or the call's own error.
  absl::Status WaitForGrant(absl::Time deadline, absl::Time wait_deadline);
  absl::Status WaitForReady(absl::Time deadline);

  // Ends the call: whoever waits gets `status`, and nobody is told of a lost lease.
  void Abort(const absl::Status& status);

  // Only after WaitForGrant.
  const v1::Granted& granted() const { return *granted_; }
  // Only after WaitForReady.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  TensorTable& table() { return *table_; }
  const TensorTable& table() const { return *table_; }

  // Whether the call is still open.
  bool open() const;

 private:
  enum class State { kStart, kWaiting, kGranted, kReady, kEnded };

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  void ReadNext();
  // Takes one message; an error breaks the call.
  absl::Status Handle(v1::AttachResponse& message);
  absl::Status HandleGranted(v1::Granted& granted);
  absl::Status HandleMetadata(const v1::MetadataBatch& batch);
  absl::Status HandleReady();
  void Notify(const Notice& notice) const;
  void MoveTo(State state);
  State state() const;
  absl::Status WaitFor(State wanted, absl::Time deadline, absl::string_view what);
  bool Reached(State wanted) const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  // Fixed at construction.
  const SocketDirectory socket_dir_;
  const AttachCallbacks callbacks_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::WeightCache::Stub> stub_;
  const v1::AttachRequest request_;

  // Of gRPC's callbacks, which come one at a time. `granted_`, `table_` and `metadata_` are read by
  // others once the state says that they are complete.
  grpc::ClientContext context_;
  google::protobuf::Arena arena_;
  v1::AttachResponse* message_ = nullptr;
  std::unique_ptr<v1::Granted> granted_;
  std::unique_ptr<TensorTable> table_;
  std::map<std::string, std::string> metadata_;
  size_t metadata_bytes_ = 0;
  // Of a key and value that go on in the next piece.
  bool metadata_continues_ = false;
  std::string metadata_key_;
  std::string metadata_value_;

  mutable absl::Mutex mu_;  // never held across a callback of the user or a call of gRPC
  State state_ ABSL_GUARDED_BY(mu_) = State::kStart;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);  // a broken message, before the call's own end
  std::optional<grpc::Status> call_status_ ABSL_GUARDED_BY(mu_);
  bool closing_ ABSL_GUARDED_BY(mu_) = false;   // ended by us: no notice about it
  bool finished_ ABSL_GUARDED_BY(mu_) = false;  // no callback runs or will run
};

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_ATTACH_STREAM_H_
