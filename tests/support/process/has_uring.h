#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_HAS_URING_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_HAS_URING_H_

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/unique_fd.h"

namespace weightd::testing {

// Whether io_uring can be set up here: seccomp or a sysctl may forbid it.
inline bool HasUring() {
  io_uring_params parameters{};
  const UniqueFd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters)));
  return ring.valid();
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_HAS_URING_H_
