#ifndef WEIGHTD_TESTS_UNIT_SERVICE_GRPC_DOUBLE_GRPCPP_SUPPORT_SERVER_CALLBACK_H_
#define WEIGHTD_TESTS_UNIT_SERVICE_GRPC_DOUBLE_GRPCPP_SUPPORT_SERVER_CALLBACK_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

// What OutgoingStream uses of gRPC's callback API, so that a test decides when what is told, and a
// sanitizer sees all of it: Finish() leads to OnDone() on another thread, once, as gRPC has it.

namespace grpc {

enum class StatusCode { OK = 0, CANCELLED = 1 };

class Status {
 public:
  static const Status OK;
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}
  StatusCode error_code() const { return code_; }
  const std::string& error_message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::OK;
  std::string message_;
};
inline const Status Status::OK;

// Where OnDone() runs; the test's.
inline std::function<void(std::function<void()>)> run_elsewhere;

template <typename Response>
class ServerWriteReactor {
 public:
  virtual ~ServerWriteReactor() = default;

  void Finish(Status status) {
    finished = std::move(status);
    ++finish_count;
    run_elsewhere([this] { OnDone(); });
  }
  void StartWrite(const Response* response) { written.push_back(*response); }

  // For the test, which plays gRPC.
  void WriteDone(bool ok) { OnWriteDone(ok); }
  void Cancel() { OnCancel(); }
  std::vector<Response> written;  // begun
  Status finished;
  int finish_count = 0;

 private:
  virtual void OnWriteDone(bool) {}
  virtual void OnCancel() {}
  virtual void OnDone() = 0;
};

}  // namespace grpc

#endif  // WEIGHTD_TESTS_UNIT_SERVICE_GRPC_DOUBLE_GRPCPP_SUPPORT_SERVER_CALLBACK_H_
