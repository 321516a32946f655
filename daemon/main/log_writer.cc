#include "daemon/main/log_writer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/status_macros.h"
#include "common/thread.h"
#include "common/volume_call.h"

namespace weightd {
namespace {

constexpr size_t kWriteBytesMax = 64 * 1024;
constexpr int kPollMs = 1000;

// Whether a volume may be asked by a write, and not answer. To ask what it is asks none.
bool IsFile(int fd) {
  struct statx facts = {};
  return ::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &facts) == 0 &&
         S_ISREG(facts.stx_mode);
}

ssize_t Write(int fd, bool is_file, absl::string_view text) {
  if (!is_file) return ::write(fd, text.data(), text.size());
  return VolumeCall(SYS_write, fd, reinterpret_cast<long>(text.data()),
                    static_cast<long>(text.size()));
}

// False when the rest cannot be written. Somebody who shares the descriptor may have made it
// non-blocking: then it is waited for here.
bool WriteAll(int fd, bool is_file, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = Write(fd, is_file, text);
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd entry = {.fd = fd, .events = POLLOUT, .revents = 0};
      (void)::poll(&entry, 1, kPollMs);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

class LogWriter::State {
 public:
  State(int fd, DroppedLine dropped_line, const LogWriterLimits& limits)
      : fd_(fd), dropped_line_(std::move(dropped_line)), limits_(limits) {}

  void Put(std::string line) {
    line.push_back('\n');
    absl::MutexLock lock(&mu_);
    if (stops_) return;
    if (lines_.size() >= limits_.lines_max || bytes_ + line.size() > limits_.bytes_max) {
      ++untold_;
      ++dropped_;
      return;
    }
    bytes_ += line.size();
    lines_.push_back(std::move(line));
  }

  void Stop() {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }

  bool Flush(absl::Duration timeout) {
    absl::MutexLock lock(&mu_);
    const auto written = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return lines_.empty() && !writing_;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&written), timeout);
  }

  uint64_t dropped() const {
    absl::MutexLock lock(&mu_);
    return dropped_;
  }

  void Run() {
    // A reader that is gone is an error of write(2).
    sigset_t pipe;
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    (void)::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    const bool is_file = IsFile(fd_);
    while (true) {
      std::string text;
      const uint64_t lines = Take(text);
      if (lines == 0) return;
      const bool written = WriteAll(fd_, is_file, text);
      absl::MutexLock lock(&mu_);
      writing_ = false;
      if (written) continue;
      untold_ += lines;
      dropped_ += lines;
    }
  }

 private:
  // As many lines as one write takes; what was dropped goes first. None when there is nothing more
  // to come.
  uint64_t Take(std::string& text) {
    std::deque<std::string> taken;
    uint64_t untold = 0;
    {
      absl::MutexLock lock(&mu_);
      const auto wakes = [this]()
                             ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stops_ || !lines_.empty(); };
      mu_.Await(absl::Condition(&wakes));
      size_t bytes = 0;
      while (!lines_.empty() &&
             (taken.empty() || bytes + lines_.front().size() <= kWriteBytesMax)) {
        bytes += lines_.front().size();
        taken.push_back(std::move(lines_.front()));
        lines_.pop_front();
      }
      bytes_ -= bytes;
      writing_ = !taken.empty();
      if (writing_) untold = std::exchange(untold_, 0);
    }
    if (untold > 0) text = dropped_line_(untold) + "\n";
    for (const std::string& line : taken) text += line;
    return taken.size();
  }

  const int fd_;
  const DroppedLine dropped_line_;
  const LogWriterLimits limits_;

  mutable absl::Mutex mu_;  // never held while something is written
  std::deque<std::string> lines_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t untold_ ABSL_GUARDED_BY(mu_) = 0;  // dropped since the last line that said so
  uint64_t dropped_ ABSL_GUARDED_BY(mu_) = 0;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
};

absl::StatusOr<std::unique_ptr<LogWriter>> LogWriter::Start(int fd, DroppedLine dropped_line,
                                                            const LogWriterLimits& limits) {
  auto state = std::make_shared<State>(fd, std::move(dropped_line), limits);
  RETURN_IF_ERROR(Thread::StartDetached("log", [state] { state->Run(); }));
  return std::unique_ptr<LogWriter>(new LogWriter(std::move(state)));
}

LogWriter::~LogWriter() { state_->Stop(); }

void LogWriter::Write(std::string line) { state_->Put(std::move(line)); }

bool LogWriter::Flush(absl::Duration timeout) { return state_->Flush(timeout); }

uint64_t LogWriter::dropped() const { return state_->dropped(); }

}  // namespace weightd
