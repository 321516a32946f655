#include "tests/support/executor/actors.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/check.h"

namespace weightd::testing {

thread_local Actors::Actor* Actors::own_ = nullptr;

void Actors::Wait(sem_t& semaphore) {
  while (::sem_wait(&semaphore) != 0) WEIGHTD_CHECK(errno == EINTR);
}

Actors::~Actors() {
  WEIGHTD_CHECK(paused_.empty());
  for (const auto& actor : idle_) {
    ::sem_post(&actor->go);
    actor->thread.join();
  }
}

void Actors::Run(Actor& actor) {
  own_ = &actor;
  while (true) {
    Wait(actor.go);
    if (actor.work == nullptr) return;
    actor.work();
    actor.work = nullptr;
    actor.ended = true;
    ::sem_post(actor.back);
  }
}

void Actors::Add(std::string name, std::function<void()> work) {
  if (idle_.empty()) {
    auto made = std::make_unique<Actor>();
    made->back = &back_;
    made->thread = std::thread([raw = made.get()] { Run(*raw); });
    idle_.push_back(std::move(made));
  }
  std::unique_ptr<Actor> actor = std::move(idle_.back());
  idle_.pop_back();
  actor->name = std::move(name);
  actor->work = std::move(work);
  actor->holds = nullptr;
  actor->wake = absl::InfinitePast();
  actor->ended = false;
  paused_.push_back(std::move(actor));
}

size_t Actors::CountReady(absl::Time now) {
  ready_.clear();
  for (size_t i = 0; i < paused_.size(); ++i) {
    const Actor& actor = *paused_[i];
    if (actor.wake <= now || (actor.holds != nullptr && actor.holds())) ready_.push_back(i);
  }
  return ready_.size();
}

void Actors::Start(std::string name, std::function<void()> work) {
  Add(std::move(name), std::move(work));
  Step(paused_.size() - 1);
}

void Actors::Resume(size_t index) { Step(ready_[index]); }

void Actors::Step(size_t which) {
  Actor& actor = *paused_[which];
  ::sem_post(&actor.go);
  Wait(back_);
  if (!actor.ended) return;
  idle_.push_back(std::move(paused_[which]));
  paused_.erase(paused_.begin() + static_cast<std::ptrdiff_t>(which));
}

absl::Time Actors::next_wake() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& actor : paused_) next = std::min(next, actor->wake);
  return next;
}

std::vector<std::string> Actors::names() const {
  std::vector<std::string> names;
  names.reserve(paused_.size());
  for (const auto& actor : paused_) names.push_back(actor->name);
  return names;
}

void Actors::Pause(std::function<bool()> holds, absl::Time wake) {
  if (own_ == nullptr) return;
  own_->holds = std::move(holds);
  own_->wake = wake;
  ::sem_post(own_->back);
  Wait(own_->go);
  own_->holds = nullptr;
}

bool Actors::IsActor() { return own_ != nullptr; }

}  // namespace weightd::testing
