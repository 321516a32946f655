#include "daemon/main/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "common/check.h"

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

Signals::Signals() {
  ::signal(SIGPIPE, SIG_IGN);
  const sigset_t set = HandledSignals();
  WEIGHTD_CHECK(::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  thread_ = std::thread([this] { Run(); });
}

Signals::~Signals() {
  ::pthread_kill(thread_.native_handle(), kEndThread);
  thread_.join();
}

void Signals::Run() {
  const sigset_t set = HandledSignals();
  int signal = 0;
  while (::sigwait(&set, &signal) == 0 && signal != kEndThread) {
    absl::MutexLock lock(&mu_);
    if (signal == SIGHUP) {
      reload_ = true;
      continue;
    }
    if (stop_) ::_exit(1);
    stop_ = true;
  }
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
