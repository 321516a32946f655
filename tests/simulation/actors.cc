#include "tests/simulation/actors.h"

#include <cerrno>
#include <utility>

#include "common/check.h"

namespace weightd::testing {
namespace {

struct Own {
  sem_t* go = nullptr;
  sem_t* back = nullptr;
};
thread_local Own own;

}  // namespace

void Actors::Wait(sem_t& semaphore) {
  while (::sem_wait(&semaphore) != 0) WEIGHTD_CHECK(errno == EINTR);
}

Actors::~Actors() {
  WEIGHTD_CHECK(yielding_.empty());
  for (const auto& actor : idle_) {
    actor->work = nullptr;
    ::sem_post(&actor->go);
    actor->thread.join();
  }
}

void Actors::Run(Actor& actor) {
  own = {.go = &actor.go, .back = actor.back};
  while (true) {
    Wait(actor.go);
    if (actor.work == nullptr) return;
    actor.work();
    actor.ended = true;
    ::sem_post(actor.back);
  }
}

bool Actors::Step(Actor& actor) {
  ::sem_post(&actor.go);
  Wait(back_);
  return actor.ended;
}

void Actors::Start(std::function<void()> work) {
  if (idle_.empty()) {
    auto made = std::make_unique<Actor>();
    made->back = &back_;
    made->thread = std::thread([raw = made.get()] { Run(*raw); });
    idle_.push_back(std::move(made));
  }
  std::unique_ptr<Actor> actor = std::move(idle_.back());
  idle_.pop_back();
  actor->work = std::move(work);
  actor->ended = false;
  (Step(*actor) ? idle_ : yielding_).push_back(std::move(actor));
}

void Actors::Resume(size_t index) {
  if (!Step(*yielding_[index])) return;
  idle_.push_back(std::move(yielding_[index]));
  yielding_.erase(yielding_.begin() + static_cast<std::ptrdiff_t>(index));
}

void Actors::Yield() {
  if (own.go == nullptr) return;
  ::sem_post(own.back);
  Wait(*own.go);
}

}  // namespace weightd::testing
