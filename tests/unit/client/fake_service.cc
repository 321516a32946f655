#include "tests/unit/client/fake_service.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/fd_passing.h"
#include "common/handle_protocol.h"
#include "common/socket_paths.h"
#include "common/unix_socket.h"

namespace weightd::testing {
namespace {

constexpr absl::Duration kMessageTimeout = absl::Seconds(10);

UniqueFd ListenSeqpacket(const std::string& path) {
  absl::StatusOr<UniqueFd> socket = BindUnixSocket(path, SOCK_SEQPACKET);
  if (!socket.ok() || ::listen(socket->get(), 16) != 0) {
    throw std::runtime_error("listen on " + path);
  }
  return *std::move(socket);
}

// Sends a list of messages, then ends the call.
template <typename Response>
class ListReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  ListReactor(std::vector<Response> messages, grpc::Status end)
      : messages_(std::move(messages)), end_(std::move(end)) {
    Next();
  }
  void OnWriteDone(bool ok) override { ok ? Next() : this->Finish(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }

 private:
  void Next() {
    if (next_ == messages_.size()) {
      this->Finish(end_);
    } else {
      this->StartWrite(&messages_[next_++]);
    }
  }

  const std::vector<Response> messages_;
  const grpc::Status end_;
  size_t next_ = 0;
};

template <typename Request, typename Response>
grpc::ServerUnaryReactor* AnswerUnary(const FakeService::Handler<Request, Response>& handler,
                                      grpc::CallbackServerContext* context, const Request* request,
                                      Response* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(handler ? handler(*request, response)
                          : grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "not scripted"));
  return reactor;
}

template <typename Request, typename Response>
grpc::ServerWriteReactor<Response>* AnswerStream(
    const FakeService::StreamHandler<Request, Response>& handler, const Request* request) {
  std::vector<Response> messages;
  grpc::Status end(grpc::StatusCode::UNIMPLEMENTED, "not scripted");
  if (handler) end = handler(*request, &messages);
  return new ListReactor<Response>(std::move(messages), end);
}

}  // namespace

// One Attach: sends the script, then whatever comes, until the client leaves.
class AttachReactor final : public grpc::ServerWriteReactor<v1::AttachResponse> {
 public:
  AttachReactor(FakeService* service, AttachScript script)
      : service_(service), end_(std::move(script.end)) {
    const absl::MutexLock lock(&mu_);
    queue_.assign(script.messages.begin(), script.messages.end());
    Next();
  }
  void Send(const v1::AttachResponse& message) {
    const absl::MutexLock lock(&mu_);
    queue_.push_back(message);
    if (!writing_) Next();
  }
  void OnWriteDone(bool ok) override {
    const absl::MutexLock lock(&mu_);
    writing_ = false;
    queue_.pop_front();
    if (ok) {
      Next();
    } else {
      FinishOnce(grpc::Status::CANCELLED);
    }
  }
  void OnCancel() override {
    const absl::MutexLock lock(&mu_);
    FinishOnce(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    service_->Remove(this);
    delete this;
  }

 private:
  void Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_) return;
    if (!queue_.empty()) {
      writing_ = true;
      StartWrite(&queue_.front());
    } else if (end_.has_value()) {
      FinishOnce(*end_);
    }
  }
  void FinishOnce(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!std::exchange(finished_, true)) Finish(status);
  }

  FakeService* const service_;
  const std::optional<grpc::Status> end_;
  absl::Mutex mu_;
  std::deque<v1::AttachResponse> queue_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

FakeService::FakeService(std::string socket_dir)
    : socket_dir_(std::move(socket_dir)),
      handle_listener_(ListenSeqpacket(HandleSocketPath(socket_dir_))),
      stop_event_(::eventfd(0, EFD_CLOEXEC)) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::StrCat("unix:", RpcSocketPath(socket_dir_)),
                           grpc::InsecureServerCredentials());
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) throw std::runtime_error("start server below " + socket_dir_);
  handle_thread_ = std::thread([this] { ServeHandles(); });
}

FakeService::~FakeService() { Kill(); }

void FakeService::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

void FakeService::Kill() {
  server_->Shutdown(absl::ToChronoTime(absl::Now()));
  const uint64_t one = 1;
  if (::write(stop_event_.get(), &one, sizeof(one)) != sizeof(one)) std::abort();
  if (handle_thread_.joinable()) handle_thread_.join();
  handle_listener_.reset();
}

void FakeService::SetAttach(AttachScript script) {
  const absl::MutexLock lock(&mu_);
  attach_ = std::move(script);
}

void FakeService::SetHandles(HandleScript script) {
  const absl::MutexLock lock(&mu_);
  handles_ = std::move(script);
}

void FakeService::Notify(const v1::AttachResponse& message) {
  const absl::MutexLock lock(&mu_);
  for (AttachReactor* stream : streams_) stream->Send(message);
}

bool FakeService::WaitForStreams(size_t count, absl::Duration timeout) {
  const absl::MutexLock lock(&mu_);
  const auto reached = [this, count]()
                           ABSL_SHARED_LOCKS_REQUIRED(mu_) { return streams_.size() == count; };
  return mu_.AwaitWithTimeout(absl::Condition(&reached), timeout);
}

v1::AttachRequest FakeService::last_attach() const {
  const absl::MutexLock lock(&mu_);
  return last_attach_;
}

int FakeService::tickets_shown() const {
  const absl::MutexLock lock(&mu_);
  return tickets_shown_;
}

void FakeService::Remove(AttachReactor* stream) {
  const absl::MutexLock lock(&mu_);
  std::erase(streams_, stream);
}

grpc::ServerWriteReactor<v1::AttachResponse>* FakeService::Attach(
    grpc::CallbackServerContext*, const v1::AttachRequest* request) {
  const absl::MutexLock lock(&mu_);
  last_attach_ = *request;
  auto* stream = new AttachReactor(this, attach_);
  streams_.push_back(stream);
  return stream;
}

#define WEIGHTD_FAKE_UNARY(Method, handler)                                           \
  grpc::ServerUnaryReactor* FakeService::Method(grpc::CallbackServerContext* context, \
                                                const v1::Method##Request* request,   \
                                                v1::Method##Response* response) {     \
    return AnswerUnary(handler, context, request, response);                          \
  }
WEIGHTD_FAKE_UNARY(ListModels, list_models)
WEIGHTD_FAKE_UNARY(GetModel, get_model)
WEIGHTD_FAKE_UNARY(EvictModel, evict_model)
WEIGHTD_FAKE_UNARY(PinModel, pin_model)
WEIGHTD_FAKE_UNARY(UnpinModel, unpin_model)
WEIGHTD_FAKE_UNARY(ListLeases, list_leases)
WEIGHTD_FAKE_UNARY(GetStatus, get_status)
WEIGHTD_FAKE_UNARY(ListStageReports, list_stage_reports)
WEIGHTD_FAKE_UNARY(Diagnose, diagnose)
#undef WEIGHTD_FAKE_UNARY

grpc::ServerWriteReactor<v1::StageModelResponse>* FakeService::StageModel(
    grpc::CallbackServerContext*, const v1::StageModelRequest* request) {
  return AnswerStream(stage_model, request);
}

grpc::ServerWriteReactor<v1::WatchEventsResponse>* FakeService::WatchEvents(
    grpc::CallbackServerContext*, const v1::WatchEventsRequest* request) {
  return AnswerStream(watch_events, request);
}

void FakeService::ServeHandles() {
  while (true) {
    std::array<pollfd, 2> entries = {
        {{.fd = handle_listener_.get(), .events = POLLIN, .revents = 0},
         {.fd = stop_event_.get(), .events = POLLIN, .revents = 0}}};
    if (::poll(entries.data(), entries.size(), -1) < 0) continue;
    if (entries[1].revents != 0) return;
    const UniqueFd socket(::accept4(handle_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket.valid()) AnswerHandleRequest(socket.get());
  }
}

void FakeService::AnswerHandleRequest(int socket) {
  const auto message = ReceiveFdMessage(socket, kMessageTimeout);
  if (!message.ok()) return;
  const auto request = DecodeHandleRequest(message->bytes);
  if (!request.has_value()) return;
  const absl::MutexLock lock(&mu_);
  const bool is_ticket = request->kind == HandleRequest::Kind::kTicket;
  const absl::Status& status = is_ticket ? handles_.status : handles_.who_am_i;
  std::vector<int> fds;
  if (is_ticket) ++tickets_shown_;
  if (is_ticket && status.ok()) {
    for (const UniqueFd& fd : handles_.fds) fds.push_back(fd.get());
  }
  const std::string reply =
      handles_.raw_reply.empty() ? EncodeHandleReply(status) : handles_.raw_reply;
  // A client that left is the test's own choice.
  (void)SendFdMessage(socket, reply, fds, kMessageTimeout);
}

}  // namespace weightd::testing
