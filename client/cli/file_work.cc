#include "client/cli/file_work.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/cli/interrupt.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"
#include "common/errors.h"
#include "common/leave_process.h"
#include "common/status_macros.h"
#include "common/steady_time.h"
#include "common/thread.h"
#include "common/unique_fd.h"

namespace weightd::cli {
namespace {

// Parts of files take milliseconds.
constexpr absl::Duration kNoticeAfter = absl::Seconds(3);
constexpr absl::Duration kPauseMax = absl::Hours(1);
constexpr int kSignalExit = 128;

std::atomic<bool> left_behind = false;

struct News {
  bool any = false;
  std::optional<absl::Status> ended;
  std::string step;
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
};

// What the work has told; shared with its thread, which may never end.
class Board {
 public:
  explicit Board(UniqueFd told) : told_(std::move(told)) {}

  // Tells what `change` makes of the news.
  void Tell(const std::function<void(News&)>& change) {
    {
      absl::MutexLock lock(&mu_);
      change(news_);
      news_.any = true;
    }
    const uint64_t one = 1;
    (void)!::write(told_.get(), &one, sizeof(one));  // full: it is readable all the same
  }
  News Take() {
    uint64_t count = 0;
    (void)!::read(told_.get(), &count, sizeof(count));
    absl::MutexLock lock(&mu_);
    News news = news_;
    news_.any = false;
    return news;
  }
  int told() const { return told_.get(); }

 private:
  const UniqueFd told_;
  absl::Mutex mu_;
  News news_ ABSL_GUARDED_BY(mu_);
};

ConvertOptions HooksOf(const std::shared_ptr<Board>& board) {
  ConvertOptions hooks;
  hooks.step = [board](const std::string& step) {
    board->Tell([&step](News& news) { news.step = step; });
  };
  hooks.progress = [board](uint64_t done, uint64_t total) {
    board->Tell([done, total](News& news) {
      news.bytes_done = done;
      news.bytes_total = total;
    });
  };
  return hooks;
}

void Show(const News& news, ProgressPrinter& printer) {
  if (news.bytes_total == 0) return;
  v1::StageModelResponse progress;
  progress.set_phase(v1::READING);
  progress.set_bytes_done(news.bytes_done);
  progress.set_bytes_total(news.bytes_total);
  printer.Show(progress);
}

}  // namespace

bool LeftFileWorkBehind() { return left_behind.load(); }

absl::Status RunFileWork(Invocation& invocation, const std::string& label,
                         std::function<absl::Status(const ConvertOptions& hooks)> work) {
  Io& io = invocation.io;
  UniqueFd told(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!told.valid()) return PosixError(errno, "make an eventfd");
  const auto board = std::make_shared<Board>(std::move(told));
  const Interrupt interrupt;
  auto thread = std::make_unique<Thread>();
  ASSIGN_OR_RETURN(*thread, Thread::Start("files", [board, work = std::move(work)] {
    absl::Status status = work(HooksOf(board));
    board->Tell([&status](News& news) { news.ended = std::move(status); });
  }));
  std::optional<ProgressPrinter> printer;
  printer.emplace(io.err, io.err_is_terminal, label);
  const absl::Duration timeout = invocation.options.stream_timeout();
  const absl::Time deadline = SteadyNow() + timeout;
  absl::Time notice_at = SteadyNow() + kNoticeAfter;
  while (true) {
    const News news = board->Take();
    if (news.ended.has_value()) return *news.ended;  // it joins what has told its last
    const absl::Time now = SteadyNow();
    if (news.any) {
      notice_at = now + kNoticeAfter;
      Show(news, *printer);
    }
    if (now >= deadline) {
      left_behind = true;
      (void)thread.release();  // nobody can join it
      return absl::DeadlineExceededError(absl::StrCat(
          news.step, ": not done within ", absl::FormatDuration(timeout), " (--timeout)"));
    }
    if (now >= notice_at) {
      notice_at = absl::InfiniteFuture();
      io.err << "weightctl: " << Printable(invocation.what) << ": " << Printable(news.step)
             << ": no answer for " << absl::FormatDuration(kNoticeAfter)
             << "; its volume may hang; Ctrl-C or --timeout ends this" << std::endl;
    }
    const absl::Duration pause = std::min(std::min(deadline, notice_at) - now, kPauseMax);
    if (!interrupt.Pause(pause, board->told())) {
      printer.reset();
      LeaveProcess(kSignalExit + interrupt.signal());
    }
  }
}

}  // namespace weightd::cli
