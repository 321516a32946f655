#ifndef WEIGHTD_TESTS_SIMULATION_ACTORS_H_
#define WEIGHTD_TESTS_SIMULATION_ACTORS_H_

#include <semaphore.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace weightd::testing {

// Threads of which one runs at a time, and only when it is told to: between two points where an
// actor yields, nothing else happens, so that the order of everything is the caller's to choose.
//
// All calls but Yield() come from one thread. Whoever destroys it lets every actor end first.
class Actors {
 public:
  Actors() { ::sem_init(&back_, 0, 0); }
  Actors(const Actors&) = delete;
  Actors& operator=(const Actors&) = delete;
  ~Actors();

  // Runs `work` on an actor until it yields for the first time, or ends.
  void Start(std::function<void()> work);
  // Those that have not ended; numbered from 0, newly at each call.
  size_t count() const { return yielding_.size(); }
  // Lets one run on until it yields again, or ends.
  void Resume(size_t index);

  // On an actor: gives control back to Start() or Resume(). Elsewhere it does nothing.
  static void Yield();

 private:
  struct Actor {
    Actor() { ::sem_init(&go, 0, 0); }
    sem_t go;
    sem_t* back = nullptr;
    std::function<void()> work;  // null: it is to end
    bool ended = false;          // of the work
    std::thread thread;
  };

  static void Run(Actor& actor);
  static void Wait(sem_t& semaphore);
  // Whether it has ended its work.
  bool Step(Actor& actor);

  sem_t back_;
  std::vector<std::unique_ptr<Actor>> yielding_;
  std::vector<std::unique_ptr<Actor>> idle_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SIMULATION_ACTORS_H_
