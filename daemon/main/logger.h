#ifndef WEIGHTD_DAEMON_MAIN_LOGGER_H_
#define WEIGHTD_DAEMON_MAIN_LOGGER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"
#include "daemon/config/daemon_options.h"
#include "daemon/residency/event_log.h"

namespace spdlog {
class logger;
}  // namespace spdlog

namespace weightd {

// "what key=value key="two words"": without time and level. Pure.
std::string FormatTextLine(absl::string_view what, const std::vector<LogField>& fields);
// {"time":...,"level":...,"event":what,...}: numbers as integers. Pure.
std::string FormatJsonLine(absl::Time time, absl::string_view level, absl::string_view what,
                           const std::vector<LogField>& fields);

// The daemon's log on stderr: one line per change of state, text or JSON, at most
// kLogLinesPerSecondMax of them, after which one line says how many were left out.
//
// Thread-safe. Handles, tickets and keys are never given to it.
inline constexpr uint32_t kLogLinesPerSecondMax = 500;

class Logger {
 public:
  Logger(LogFormat format, LogLevel level, const Clock& clock);
  ~Logger();

  // From the next line on.
  void Configure(LogFormat format, LogLevel level);

  void Log(LogLevel level, absl::string_view what, const std::vector<LogField>& fields = {});
  // An event as a line: failures and refusals are warnings, damage is an error.
  void LogEvent(const Event& event);

 private:
  // How many lines were left out before this one, or nullopt for a line to leave out.
  bool Admit(absl::Time now, uint64_t& left_out);
  void Write(absl::Time now, LogLevel level, absl::string_view what,
             const std::vector<LogField>& fields);

  std::atomic<LogFormat> format_;
  const Clock& clock_;
  const std::unique_ptr<spdlog::logger> sink_;

  absl::Mutex mu_;
  absl::Time window_start_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  uint32_t window_lines_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t left_out_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_LOGGER_H_
