#ifndef WEIGHTD_TESTS_UNIT_CLIENT_FAKE_SERVICE_H_
#define WEIGHTD_TESTS_UNIT_CLIENT_FAKE_SERVICE_H_

#include <grpcpp/server.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

namespace weightd::testing {

class AttachReactor;

// What the double answers to every Attach.
struct AttachScript {
  std::vector<v1::AttachResponse> messages;
  // Ends the call with this after the messages; unset: the stream stays open.
  std::optional<grpc::Status> end;
};

// What the double answers on the handle socket.
struct HandleScript {
  absl::Status status;  // for a ticket
  absl::Status who_am_i;
  std::vector<UniqueFd> fds;  // sent for every ticket while `status` is OK
  std::string raw_reply;      // if not empty, sent instead of the encoded status
};

// A weightd without weights: serves WeightCache and the handle socket on real Unix sockets below a
// directory, and answers what a test told it to. Thread-safe.
class FakeService final : public v1::WeightCache::CallbackService {
 public:
  // Answers to unary calls and to streams that only send; unset ones answer UNIMPLEMENTED.
  template <typename Request, typename Response>
  using Handler = std::function<grpc::Status(const Request&, Response*)>;
  template <typename Request, typename Response>
  using StreamHandler = std::function<grpc::Status(const Request&, std::vector<Response>*)>;

  // Listens below `socket_dir`, which exists.
  explicit FakeService(std::string socket_dir);
  ~FakeService() override;

  void SetAttach(AttachScript script);
  void SetHandles(HandleScript script);
  // Set before the first call.
  Handler<v1::ListModelsRequest, v1::ListModelsResponse> list_models;
  Handler<v1::GetModelRequest, v1::GetModelResponse> get_model;
  Handler<v1::EvictModelRequest, v1::EvictModelResponse> evict_model;
  Handler<v1::PinModelRequest, v1::PinModelResponse> pin_model;
  Handler<v1::UnpinModelRequest, v1::UnpinModelResponse> unpin_model;
  Handler<v1::ListLeasesRequest, v1::ListLeasesResponse> list_leases;
  Handler<v1::GetStatusRequest, v1::GetStatusResponse> get_status;
  Handler<v1::ListStageReportsRequest, v1::ListStageReportsResponse> list_stage_reports;
  Handler<v1::DiagnoseRequest, v1::DiagnoseResponse> diagnose;
  StreamHandler<v1::StageModelRequest, v1::StageModelResponse> stage_model;
  StreamHandler<v1::WatchEventsRequest, v1::WatchEventsResponse> watch_events;

  // What grpc.health.v1 answers; SERVING at first.
  void SetServing(bool serving);
  // Sends one more message to every open Attach.
  void Notify(const v1::AttachResponse& message);
  // Waits until `count` Attach streams are open; false after `timeout`.
  bool WaitForStreams(size_t count, absl::Duration timeout = absl::Seconds(20));
  v1::AttachRequest last_attach() const;
  int tickets_shown() const;
  // Dies as a killed daemon does: connections break, sockets stay in the directory.
  void Kill();

  const std::string& socket_dir() const { return socket_dir_; }

 private:
  friend class AttachReactor;

  grpc::ServerWriteReactor<v1::AttachResponse>* Attach(grpc::CallbackServerContext* context,
                                                       const v1::AttachRequest* request) override;
#define WEIGHTD_FAKE_UNARY(Method)                                       \
  grpc::ServerUnaryReactor* Method(grpc::CallbackServerContext* context, \
                                   const v1::Method##Request* request,   \
                                   v1::Method##Response* response) override;
  WEIGHTD_FAKE_UNARY(ListModels)
  WEIGHTD_FAKE_UNARY(GetModel)
  WEIGHTD_FAKE_UNARY(EvictModel)
  WEIGHTD_FAKE_UNARY(PinModel)
  WEIGHTD_FAKE_UNARY(UnpinModel)
  WEIGHTD_FAKE_UNARY(ListLeases)
  WEIGHTD_FAKE_UNARY(GetStatus)
  WEIGHTD_FAKE_UNARY(ListStageReports)
  WEIGHTD_FAKE_UNARY(Diagnose)
#undef WEIGHTD_FAKE_UNARY
  grpc::ServerWriteReactor<v1::StageModelResponse>* StageModel(
      grpc::CallbackServerContext* context, const v1::StageModelRequest* request) override;
  grpc::ServerWriteReactor<v1::WatchEventsResponse>* WatchEvents(
      grpc::CallbackServerContext* context, const v1::WatchEventsRequest* request) override;

  void Remove(AttachReactor* stream);
  void ServeHandles();
  void AnswerHandleRequest(int socket);

  const std::string socket_dir_;
  UniqueFd handle_listener_;
  UniqueFd stop_event_;

  mutable absl::Mutex mu_;
  AttachScript attach_ ABSL_GUARDED_BY(mu_);
  HandleScript handles_ ABSL_GUARDED_BY(mu_);
  v1::AttachRequest last_attach_ ABSL_GUARDED_BY(mu_);
  std::vector<AttachReactor*> streams_ ABSL_GUARDED_BY(mu_);
  int tickets_shown_ ABSL_GUARDED_BY(mu_) = 0;

  std::unique_ptr<grpc::Server> server_;
  std::thread handle_thread_;  // last: it uses everything above
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_CLIENT_FAKE_SERVICE_H_
