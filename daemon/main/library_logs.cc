#include "daemon/main/library_logs.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <string>

#include "absl/base/const_init.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace weightd {
namespace {

// The libraries take plain functions.
absl::Mutex mu(absl::kConstInit);
Logger* log_to ABSL_GUARDED_BY(mu) = nullptr;
int telling ABSL_GUARDED_BY(mu) = 0;

void Tell(const char* library, LogLevel level, const std::string& text) {
  Logger* logger = nullptr;
  {
    absl::MutexLock lock(&mu);
    if (log_to == nullptr) return;
    logger = log_to;
    ++telling;
  }
  logger->Log(level, "library", {{"library", library}, {"detail", text}});
  absl::MutexLock lock(&mu);
  --telling;
}

void TellGrpc(gpr_log_func_args* said) {
  LogLevel level = LogLevel::kInfo;
  if (said->severity == GPR_LOG_SEVERITY_ERROR) level = LogLevel::kWarning;
  Tell("gRPC", level, said->message);
}

// An error of its is a client's mistake, and what ends the process comes as an exception too.
void TellProtobuf(google::protobuf::LogLevel level, const char* /*file*/, int /*line*/,
                  const std::string& text) {
  Tell("Protobuf",
       level == google::protobuf::LOGLEVEL_FATAL ? LogLevel::kError : LogLevel::kWarning, text);
}

}  // namespace

LibraryLogs::LibraryLogs(Logger& logger) {
  {
    absl::MutexLock lock(&mu);
    log_to = &logger;
  }
  gpr_set_log_function(TellGrpc);
  google::protobuf::SetLogHandler(TellProtobuf);
}

LibraryLogs::~LibraryLogs() {
  absl::MutexLock lock(&mu);
  log_to = nullptr;
  mu.Await(absl::Condition(
      +[](int* count) { return *count == 0; }, &telling));
}

}  // namespace weightd
