#ifndef WEIGHTD_TESTS_SUPPORT_EXECUTOR_ACTORS_H_
#define WEIGHTD_TESTS_SUPPORT_EXECUTOR_ACTORS_H_

#include <semaphore.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"

namespace weightd::testing {

// Threads of which one runs at a time, and only when it is told to: between two points where an
// actor pauses, nothing else happens, so that the order of everything is the caller's to choose.
//
// Add() may be called on an actor too; all else but the static calls comes from one thread. Whoever
// destroys it lets every actor end first.
class Actors {
 public:
  Actors() { ::sem_init(&back_, 0, 0); }
  Actors(const Actors&) = delete;
  Actors& operator=(const Actors&) = delete;
  ~Actors();

  // An actor that does `work`, once it is resumed.
  void Add(std::string name, std::function<void()> work);
  // Likewise, and runs it until it pauses for the first time, or ends.
  void Start(std::string name, std::function<void()> work);

  // How many may go on at `now`: those that do not pause for something any more. They are numbered
  // from 0, until the next call.
  size_t CountReady(absl::Time now);
  // Lets one of them run until it pauses, or ends.
  void Resume(size_t index);
  // When the next one may go on, whatever it waits for; never is the infinite future.
  absl::Time next_wake() const;
  // Those that have not ended, for people.
  std::vector<std::string> names() const;

  // On an actor: gives control back until it is resumed, which it may be at once.
  static void Yield() { Pause(nullptr, absl::InfinitePast()); }
  // On an actor: likewise, but it may be resumed only once `holds` says so, which is asked while no
  // actor runs, or from `wake` on. Elsewhere both do nothing.
  static void Pause(std::function<bool()> holds, absl::Time wake);
  static bool IsActor();

 private:
  struct Actor {
    Actor() { ::sem_init(&go, 0, 0); }
    sem_t go;
    sem_t* back = nullptr;
    std::string name;
    std::function<void()> work;   // null: the thread is to end
    std::function<bool()> holds;  // null: never
    absl::Time wake;
    bool ended = false;  // of the work
    std::thread thread;
  };

  static void Run(Actor& actor);
  void Step(size_t which);
  static void Wait(sem_t& semaphore);
  static thread_local Actor* own_;

  sem_t back_;
  std::vector<std::unique_ptr<Actor>> paused_;
  std::vector<size_t> ready_;  // indices of paused_
  std::vector<std::unique_ptr<Actor>> idle_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_EXECUTOR_ACTORS_H_
