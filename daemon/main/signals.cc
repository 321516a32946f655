#include "daemon/main/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "common/check.h"
#include "common/leave_process.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// Sent to our own thread to end it; nobody else uses it.
constexpr int kEndThread = SIGUSR2;

sigset_t HandledSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, kEndThread}) ::sigaddset(&set, signal);
  return set;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Signals>> Signals::Start() {
  std::unique_ptr<Signals> signals(new Signals());
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // RLIMIT_FSIZE: the call fails with EFBIG, not the daemon
  const sigset_t set = HandledSignals();
  WEIGHTD_CHECK(::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  ASSIGN_OR_RETURN(signals->thread_,
                   Thread::Start("signals", [raw = signals.get()] { raw->Run(); }));
  return signals;
}

Signals::~Signals() {
  if (!thread_.joinable()) return;
  // Every thread blocks it: it goes to the one that waits for it.
  ::kill(::getpid(), kEndThread);
  thread_.Join();
}

void Signals::Run() {
  const sigset_t set = HandledSignals();
  int signal = 0;
  while (::sigwait(&set, &signal) == 0 && signal != kEndThread) {
    {
      absl::MutexLock lock(&mu_);
      if (signal == SIGHUP) {
        reload_ = true;
        continue;
      }
      if (stop_) LeaveProcess(1);
      stop_ = true;
    }
    on_stop_.Tell(true);
  }
}

void Signals::set_on_stop(std::function<void()> on_stop) {
  if (on_stop == nullptr) return on_stop_.Set(nullptr);
  // Told twice where the signal comes right now.
  on_stop_.Set([on_stop](bool) { on_stop(); });
  bool stop = false;
  {
    absl::MutexLock lock(&mu_);
    stop = stop_;
  }
  if (stop) on_stop_.Tell(true);
}

Signals::Request Signals::Wait() {
  absl::MutexLock lock(&mu_);
  const auto asked = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stop_ || reload_; };
  mu_.Await(absl::Condition(&asked));
  if (stop_) return Request::kStop;
  reload_ = false;
  return Request::kReload;
}

}  // namespace weightd
