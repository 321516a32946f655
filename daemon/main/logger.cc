#include "daemon/main/logger.h"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/printable_text.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// Quoted where a reader of key=value lines would stumble, or a terminal obey.
std::string TextValue(const std::string& value) {
  const std::string quoted = absl::StrReplaceAll(
      value, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}, {"\r", "\\r"}, {"\t", "\\t"}});
  std::string safe = PrintableText(quoted);
  const bool plain = safe == value && value.find_first_of(" =") == std::string::npos;
  return plain && !value.empty() ? value : absl::StrCat("\"", safe, "\"");
}

absl::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "info";
}

LogLevel LevelOf(EventType type) {
  switch (type) {
    case EventType::kDamaged:
      return LogLevel::kError;
    case EventType::kStageFailed:
    case EventType::kDemotionFailed:
    case EventType::kStageRefused:
    case EventType::kAttachRefused:
    case EventType::kLeaseRevoked:
      return LogLevel::kWarning;
    default:
      return LogLevel::kInfo;
  }
}

}  // namespace

std::string FormatTextLine(absl::string_view what, const std::vector<LogField>& fields) {
  std::string line(what);
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", field.key, "=");
    if (const auto* number = std::get_if<uint64_t>(&field.value)) {
      absl::StrAppend(&line, *number);
    } else {
      absl::StrAppend(&line, TextValue(std::get<std::string>(field.value)));
    }
  }
  return line;
}

std::string FormatJsonLine(absl::Time time, absl::string_view level, absl::string_view what,
                           const std::vector<LogField>& fields) {
  nlohmann::ordered_json line;
  line["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
  line["level"] = std::string(level);
  line["event"] = std::string(what);
  for (const LogField& field : fields) {
    if (const auto* number = std::get_if<uint64_t>(&field.value)) {
      line[field.key] = *number;
    } else {
      line[field.key] = std::get<std::string>(field.value);
    }
  }
  // Names come from files and clients: bytes that are no UTF-8 must not throw.
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

namespace {

std::string FormatLine(LogFormat format, absl::Time now, LogLevel level, absl::string_view what,
                       const std::vector<LogField>& fields) {
  if (format == LogFormat::kJson) return FormatJsonLine(now, LevelName(level), what, fields);
  const char letter = static_cast<char>(LevelName(level)[0] - 'a' + 'A');
  return absl::StrCat(std::string(1, letter),
                      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", now, absl::UTCTimeZone()), " ",
                      FormatTextLine(what, fields));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Logger>> Logger::Start(LogFormat format, LogLevel level,
                                                      const Clock& clock) {
  return Start(format, level, clock, STDERR_FILENO, {});
}

absl::StatusOr<std::unique_ptr<Logger>> Logger::Start(LogFormat format, LogLevel level,
                                                      const Clock& clock, int fd,
                                                      const LogWriterLimits& limits) {
  std::unique_ptr<Logger> logger(new Logger(format, level, clock));
  // The writer may outlive the logger, so it has what it needs for itself.
  ASSIGN_OR_RETURN(logger->writer_, LogWriter::Start(
                                        fd,
                                        [shared = logger->shared_](uint64_t lines) {
                                          return FormatLine(shared->format.load(), absl::Now(),
                                                            LogLevel::kWarning, "log_lines_dropped",
                                                            {{"lines", lines}});
                                        },
                                        limits));
  return logger;
}

Logger::Logger(LogFormat format, LogLevel level, const Clock& clock)
    : clock_(clock), shared_(std::make_shared<Shared>()) {
  Configure(format, level);
}

Logger::~Logger() { Flush(kLogFlushTime); }

void Logger::Configure(LogFormat format, LogLevel level) {
  shared_->format.store(format);
  level_.store(level);
}

bool Logger::Admit(absl::Time now, uint64_t& left_out) {
  absl::MutexLock lock(&mu_);
  if (now - window_start_ >= absl::Seconds(1)) {
    window_start_ = now;
    window_lines_ = 0;
    left_out = std::exchange(left_out_, 0);
  }
  if (window_lines_ < kLogLinesPerSecondMax) {
    ++window_lines_;
    return true;
  }
  ++left_out_;
  ++left_out_total_;
  return false;
}

uint64_t Logger::dropped_lines() const {
  const uint64_t unwritten = writer_->dropped();
  absl::MutexLock lock(&mu_);
  return unwritten + left_out_total_;
}

void Logger::Write(absl::Time now, LogLevel level, absl::string_view what,
                   const std::vector<LogField>& fields) {
  writer_->Write(FormatLine(shared_->format.load(), now, level, what, fields));
}

void Logger::WritePlain(std::string line) { writer_->Write(std::move(line)); }

bool Logger::Flush(absl::Duration timeout) { return writer_->Flush(timeout); }

void Logger::Log(LogLevel level, absl::string_view what, const std::vector<LogField>& fields) {
  if (level < level_.load()) return;
  const absl::Time now = clock_.Now();
  uint64_t left_out = 0;
  if (!Admit(now, left_out)) return;
  if (left_out > 0) Write(now, LogLevel::kWarning, "log_lines_left_out", {{"lines", left_out}});
  Write(now, level, what, fields);
}

void Logger::LogEvent(const Event& event) {
  Log(LevelOf(event.type), EventTypeName(event.type), EventFields(event));
}

}  // namespace weightd
