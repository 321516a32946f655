#ifndef WEIGHTD_COMMON_THREAD_H_
#define WEIGHTD_COMMON_THREAD_H_

#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weightd {

// One thread of the process: the only place where threads are made.
//
// A thread has a name (at most 15 bytes, longer ones are cut: `ps -L`, `top -H` and gdb show it),
// and its start can fail like any other call. Whatever the body waits for must end before Join():
// the owner tells the body to stop, then joins.
//
//   ASSIGN_OR_RETURN(thread_, Thread::Start("reader", [this] { Run(); }));
//
// Thread-compatible.
class Thread {
 public:
  // No thread; Join() does nothing.
  Thread() = default;
  // RESOURCE_EXHAUSTED with the limit to raise, when the system gives no further thread.
  static absl::StatusOr<Thread> Start(std::string name, std::function<void()> body);
  // A thread that nobody joins: for work that may never end. The body owns all that it uses.
  static absl::Status StartDetached(std::string name, std::function<void()> body);

  Thread(Thread&&) noexcept = default;
  // The thread before must have been joined.
  Thread& operator=(Thread&&) noexcept = default;
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  // Joins.
  ~Thread() { Join(); }

  bool joinable() const { return thread_.joinable(); }
  // Returns when the body has returned. Not from the thread itself.
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  explicit Thread(std::thread thread) : thread_(std::move(thread)) {}

  std::thread thread_;
};

}  // namespace weightd

#endif  // WEIGHTD_COMMON_THREAD_H_
