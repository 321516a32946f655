#ifndef WEIGHTD_COMMON_DETACHED_CLOSER_H_
#define WEIGHTD_COMMON_DETACHED_CLOSER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/unique_fd.h"

namespace weightd {

// Closes descriptors that others chose, on threads that nobody waits for.
//
// close(2) of the last descriptor of a file can last: as long as a FUSE server takes to answer, as
// long as a TCP socket lingers. So can that of a Unix socket in whose queue such descriptors lie.
// They wait here, open, until one of a few threads has closed them; the threads are begun when
// there is something to close and end when there is nothing. One that never comes back is lost, and
// its descriptor with it: of one user only a part may be, and users take turns.
//
// Thread-safe. No call blocks.
class DetachedCloser {
 public:
  struct Options {
    size_t threads_max = 64;  // at once; those that hang count
    size_t threads_per_uid_max = 8;
    size_t waiting_max = 4096;
    size_t waiting_per_uid_max = 128;
  };

  DetachedCloser() : DetachedCloser(Options()) {}
  explicit DetachedCloser(const Options& options);
  DetachedCloser(const DetachedCloser&) = delete;
  DetachedCloser& operator=(const DetachedCloser&) = delete;
  // What still waits stays open until the process ends.
  ~DetachedCloser() = default;

  // Takes them all, also when it is full. `uid` is of who sent them.
  void Close(std::vector<UniqueFd> descriptors, uint32_t uid);
  // Ends the connection of a Unix socket, and closes that: here, where descriptors may lie in its
  // queue, else at once.
  void CloseSocket(UniqueFd socket, uint32_t uid);

  // All threads hang, and as many wait as may: take nothing more from others, or from that one.
  bool full() const;
  bool full(uint32_t uid) const;
  size_t waiting() const;

 private:
  struct State;

  const Options options_;
  const std::shared_ptr<State> state_;  // shared with the threads
};

}  // namespace weightd

#endif  // WEIGHTD_COMMON_DETACHED_CLOSER_H_
