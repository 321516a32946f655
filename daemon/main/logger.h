#ifndef WEIGHTD_DAEMON_MAIN_LOGGER_H_
#define WEIGHTD_DAEMON_MAIN_LOGGER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "daemon/config/daemon_options.h"
#include "daemon/main/log_writer.h"
#include "daemon/residency/event_log.h"

namespace weightd {

// "what key=value key="two words"": without time and level. Pure.
std::string FormatTextLine(absl::string_view what, const std::vector<LogField>& fields);
// {"time":...,"level":...,"event":what,...}: numbers as integers. Pure.
std::string FormatJsonLine(absl::Time time, absl::string_view level, absl::string_view what,
                           const std::vector<LogField>& fields);

// The daemon's log on stderr: one line per change of state, text or JSON, at most
// kLogLinesPerSecondMax of them, after which one line says how many were left out.
//
// Nobody waits for who reads it, see LogWriter: what is not read in time is dropped, and a line
// says how much when the reader is back. Thread-safe. Handles, tickets and keys are never given to
// it.
inline constexpr uint32_t kLogLinesPerSecondMax = 500;
// What the end of the process waits for a reader.
inline constexpr absl::Duration kLogFlushTime = absl::Seconds(1);

class Logger {
 public:
  static absl::StatusOr<std::unique_ptr<Logger>> Start(LogFormat format, LogLevel level,
                                                       const Clock& clock);
  // To another descriptor.
  static absl::StatusOr<std::unique_ptr<Logger>> Start(LogFormat format, LogLevel level,
                                                       const Clock& clock, int fd,
                                                       const LogWriterLimits& limits);
  // Flush(kLogFlushTime).
  ~Logger();

  // From the next line on.
  void Configure(LogFormat format, LogLevel level);

  void Log(LogLevel level, absl::string_view what, const std::vector<LogField>& fields = {});
  // An event as a line: failures and refusals are warnings, damage is an error.
  void LogEvent(const Event& event);
  // A line for a terminal, as it is.
  void WritePlain(std::string line);
  // Waits until all is written; false when the time is over before.
  bool Flush(absl::Duration timeout);
  // Lines that were not written: too many in a second, or nobody read them.
  uint64_t dropped_lines() const;

 private:
  struct Shared {
    std::atomic<LogFormat> format;
  };

  Logger(LogFormat format, LogLevel level, const Clock& clock);
  // How many lines were left out before this one; false for a line to leave out.
  bool Admit(absl::Time now, uint64_t& left_out);
  void Write(absl::Time now, LogLevel level, absl::string_view what,
             const std::vector<LogField>& fields);

  const Clock& clock_;
  const std::shared_ptr<Shared> shared_;
  std::unique_ptr<LogWriter> writer_;  // fixed once Start() returns
  std::atomic<LogLevel> level_ = LogLevel::kInfo;

  mutable absl::Mutex mu_;
  absl::Time window_start_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  uint32_t window_lines_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t left_out_ ABSL_GUARDED_BY(mu_) = 0;  // in this window
  uint64_t left_out_total_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_LOGGER_H_
