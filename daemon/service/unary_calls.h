#ifndef WEIGHTD_DAEMON_SERVICE_UNARY_CALLS_H_
#define WEIGHTD_DAEMON_SERVICE_UNARY_CALLS_H_

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/service/blocking_pool.h"
#include "daemon/service/caller.h"
#include "daemon/service/grpc_status.h"

// Calls with one answer. gRPC owns them from the moment the handler returns them: they delete
// themselves when the call is done.

namespace weightd {

// A call with one answer; what it takes of its uid's limits it has until the client took that.
class UnaryCall : public grpc::ServerUnaryReactor {
 public:
  UnaryCall(absl::StatusOr<Caller> caller, google::protobuf::Message& response)
      : response_(response) {
    if (!caller.ok()) return;
    shares_ = std::move(caller->shares);
    queued_bytes_ = std::move(caller->queued_bytes);
  }

  // Finishes the call, once, on any thread. A response beyond what the clients of that uid may
  // leave unread is not sent: the call ends with RESOURCE_EXHAUSTED/LIMIT_EXCEEDED.
  void Answer(grpc::Status status) {
    if (status.ok()) {
      const absl::Status fits = queued_bytes_.Grow(response_.ByteSizeLong());
      if (!fits.ok()) status = ToGrpcStatus(fits);
    }
    if (!status.ok()) Free();
    Finish(std::move(status));
  }

 private:
  void OnDone() override { delete this; }
  // Clear() would keep the memory until the call is over.
  void Free() {
    const std::unique_ptr<google::protobuf::Message> empty(response_.New());
    response_.GetReflection()->Swap(&response_, empty.get());
  }

  google::protobuf::Message& response_;
  std::vector<Share> shares_;
  Share queued_bytes_;
};

// A call that was answered already.
inline grpc::ServerUnaryReactor* AnswerNow(absl::StatusOr<Caller> caller,
                                           google::protobuf::Message& response,
                                           const grpc::Status& status) {
  auto* call = new UnaryCall(std::move(caller), response);
  call->Answer(status);
  return call;
}

// A unary call whose answer takes a thread.
class PooledCall final : public UnaryCall {
 public:
  using Work = std::function<grpc::Status()>;

  PooledCall(Caller caller, google::protobuf::Message& response,
             const grpc::CallbackServerContext& context, BlockingPool& pool)
      : UnaryCall(std::move(caller), response), context_(context), pool_(pool) {}

  // Answers with what `work` returns, or with `refuse` of the pool's refusal.
  void Begin(uint32_t uid, Work work,
             const std::function<grpc::Status(const absl::Status&)>& refuse) {
    const absl::StatusOr<TaskId> task = pool_.Submit(uid, [this, work = std::move(work)] {
      Answer(context_.IsCancelled() ? Cancelled() : work());
    });
    // The call may be over by now, and this object gone: but not before the handler has returned.
    if (!task.ok()) return Answer(refuse(task.status()));
    task_ = *task;
  }

 private:
  static grpc::Status Cancelled() {
    return {grpc::StatusCode::CANCELLED, "cancelled before it was its turn"};
  }
  void OnCancel() override {
    if (task_.valid() && pool_.Withdraw(task_)) Answer(Cancelled());
  }

  const grpc::CallbackServerContext& context_;
  BlockingPool& pool_;
  TaskId task_;  // fixed after Begin
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_UNARY_CALLS_H_
