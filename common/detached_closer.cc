#include "common/detached_closer.h"

#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/thread.h"

namespace weightd {

struct DetachedCloser::State {
  absl::Mutex mu;
  std::deque<int> waiting ABSL_GUARDED_BY(mu);  // numbers: nobody closes them by going out of scope
  size_t threads ABSL_GUARDED_BY(mu) = 0;

  // Closes what waits, until nothing does.
  static void Work(const std::shared_ptr<State>& state) {
    while (true) {
      UniqueFd next;
      {
        absl::MutexLock lock(&state->mu);
        if (state->waiting.empty()) {
          --state->threads;
          return;
        }
        next.reset(state->waiting.front());
        state->waiting.pop_front();
      }
    }
  }
};

DetachedCloser::DetachedCloser(const Options& options)
    : options_(options), state_(std::make_shared<State>()) {}

void DetachedCloser::Close(UniqueFd descriptor) {
  std::vector<UniqueFd> one;
  one.push_back(std::move(descriptor));
  Close(std::move(one));
}

void DetachedCloser::Close(std::vector<UniqueFd> descriptors) {
  if (descriptors.empty()) return;
  {
    absl::MutexLock lock(&state_->mu);
    for (UniqueFd& descriptor : descriptors) state_->waiting.push_back(descriptor.release());
    if (state_->threads >= options_.threads_max) return;
    ++state_->threads;
  }
  // Where no thread is to be had they wait for the next call.
  if (Thread::StartDetached("close", [state = state_] { State::Work(state); }).ok()) return;
  absl::MutexLock lock(&state_->mu);
  --state_->threads;
}

bool DetachedCloser::full() const { return waiting() >= options_.waiting_max; }

size_t DetachedCloser::waiting() const {
  absl::MutexLock lock(&state_->mu);
  return state_->waiting.size();
}

}  // namespace weightd
