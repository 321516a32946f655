#ifndef WEIGHTD_DAEMON_MAIN_LOG_WRITER_H_
#define WEIGHTD_DAEMON_MAIN_LOG_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace weightd {

struct LogWriterLimits {
  size_t lines_max = 8192;  // that wait
  size_t bytes_max = size_t{4} << 20;
};

// Writes lines to a descriptor on a thread of its own, so that nobody waits for who reads them: a
// pipe that is full, a disk that hangs, a terminal that is stopped hold up that thread alone.
//
// What does not fit into the queue is dropped and counted, as is what cannot be written (the reader
// is gone, the disk is full). Thread-safe.
class LogWriter {
 public:
  // The line that says how many were dropped; made by the writer's thread.
  using DroppedLine = std::function<std::string(uint64_t lines)>;

  // `fd` stays the caller's, open for as long as the process lives.
  static absl::StatusOr<std::unique_ptr<LogWriter>> Start(int fd, DroppedLine dropped_line,
                                                          const LogWriterLimits& limits = {});
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;
  // Takes no further line. What is not written by then, and the thread that hangs, are left behind.
  ~LogWriter();

  // A line without its end. Never waits.
  void Write(std::string line);
  // Waits until all lines are written or lost; false when the time is over before.
  bool Flush(absl::Duration timeout);
  // All so far.
  uint64_t dropped() const;

 private:
  class State;
  explicit LogWriter(std::shared_ptr<State> state) : state_(std::move(state)) {}

  const std::shared_ptr<State> state_;  // the thread's, too, which may never come back
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_LOG_WRITER_H_
