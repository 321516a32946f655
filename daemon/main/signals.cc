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
  for (const int signal : {SIGTERM, SIGINT, kEndThread}) ::sigaddset(&set, signal);
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
    if (stop_.HasBeenNotified()) ::_exit(1);
    stop_.Notify();
  }
}

}  // namespace weightd
