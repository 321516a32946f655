#ifndef WEIGHTD_TESTS_SUPPORT_COMMON_LIMITED_PROCESS_H_
#define WEIGHTD_TESTS_SUPPORT_COMMON_LIMITED_PROCESS_H_

#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>

namespace weightd::testing {

// Whether this program, and those built with it, need terabytes of addresses (sanitizers): then
// RLIMIT_AS is nothing that they can live with.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kHasShadowMemory = true;
#else
inline constexpr bool kHasShadowMemory = false;
#endif

// Runs `is_right` in a process of its own, whose user, without rights and with a number that is the
// test's alone, may have `processes_max` processes. What it returned; none where this process may
// not become that user.
inline std::optional<bool> RunWithProcesses(uid_t user, rlim_t processes_max,
                                            const std::function<bool()>& is_right) {
  constexpr int kNotTried = 2;
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit few = {.rlim_cur = processes_max, .rlim_max = processes_max};
    if (::setuid(user) != 0 || ::setrlimit(RLIMIT_NPROC, &few) != 0) ::_exit(kNotTried);
    ::_exit(is_right() ? 0 : 1);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return false;
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNotTried) return std::nullopt;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_COMMON_LIMITED_PROCESS_H_
