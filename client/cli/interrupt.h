#ifndef WEIGHTD_CLIENT_CLI_INTERRUPT_H_
#define WEIGHTD_CLIENT_CLI_INTERRUPT_H_

#include <signal.h>

#include "absl/time/time.h"

namespace weightd::cli {

// While it lives, SIGINT and SIGTERM do not end the process: who watches ends by itself, and leaves
// the terminal as it was. A second one ends the process as ever. One at a time.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  ~Interrupt();

  // Waits until `time` is over, or the descriptor `or_readable` can be read, where one is given;
  // false as soon as a signal came.
  bool Pause(absl::Duration time, int or_readable = -1) const;
  // The last that came; 0 for none.
  int signal() const;

 private:
  struct sigaction before_int_ {};
  struct sigaction before_term_ {};
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_INTERRUPT_H_
