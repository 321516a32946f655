#ifndef WEIGHTD_DAEMON_MAIN_LIBRARY_LOGS_H_
#define WEIGHTD_DAEMON_MAIN_LIBRARY_LOGS_H_

#include "daemon/main/logger.h"

namespace weightd {

// While it lives, what gRPC and Protobuf say goes into the log, in its format and within its limit:
// a client can make them speak as often as it likes. One at a time.
class LibraryLogs {
 public:
  // Before the first call of either library, on the main thread; `logger` outlives it.
  explicit LibraryLogs(Logger& logger);
  LibraryLogs(const LibraryLogs&) = delete;
  LibraryLogs& operator=(const LibraryLogs&) = delete;
  // What they say afterwards is lost: their threads may outlive the log.
  ~LibraryLogs();
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_LIBRARY_LOGS_H_
