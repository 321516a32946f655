#ifndef WEIGHTD_DAEMON_SERVICE_UNARY_CALLS_H_
#define WEIGHTD_DAEMON_SERVICE_UNARY_CALLS_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/service/blocking_pool.h"
#include "daemon/service/caller.h"

// Calls with one answer. gRPC owns them from the moment the handler returns them: they delete
// themselves when the call is done.

namespace weightd {

// A call with one answer; what it takes of its uid's limits it has until the client took that.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  explicit UnaryCall(absl::StatusOr<Caller> caller) {
    if (caller.ok()) shares_ = std::move(caller->shares);
  }

 private:
  void OnDone() override { delete this; }

  std::vector<Share> shares_;
};

// A unary call whose answer takes a thread.
class PooledCall final : public grpc::ServerUnaryReactor {
 public:
  using Work = std::function<grpc::Status()>;

  PooledCall(Caller caller, const grpc::CallbackServerContext& context, BlockingPool& pool)
      : shares_(std::move(caller.shares)), context_(context), pool_(pool) {}

  // Finishes with what `work` returns, or with `refuse` of the pool's refusal.
  void Begin(uint32_t uid, Work work,
             const std::function<grpc::Status(const absl::Status&)>& refuse) {
    const absl::StatusOr<TaskId> task = pool_.Submit(uid, [this, work = std::move(work)] {
      Finish(context_.IsCancelled() ? Cancelled() : work());
    });
    // The call may be over by now, and this object gone: but not before the handler has returned.
    if (!task.ok()) return Finish(refuse(task.status()));
    task_ = *task;
  }

 private:
  static grpc::Status Cancelled() {
    return {grpc::StatusCode::CANCELLED, "cancelled before it was its turn"};
  }
  void OnCancel() override {
    if (task_.valid() && pool_.Withdraw(task_)) Finish(Cancelled());
  }
  void OnDone() override { delete this; }

  const std::vector<Share> shares_;  // of its uid's limits, until the client took the answer
  const grpc::CallbackServerContext& context_;
  BlockingPool& pool_;
  TaskId task_;  // fixed after Begin
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_UNARY_CALLS_H_
