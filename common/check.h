#ifndef WEIGHTD_COMMON_CHECK_H_
#define WEIGHTD_COMMON_CHECK_H_

#include <cstdio>
#include <cstdlib>

// Ends the process when `condition`, an invariant of our own, does not hold. Never for what a file,
// a client or a driver does. Debian 12's Abseil has no absl/log/check.h.
#define WEIGHTD_CHECK(condition)                                                       \
  do {                                                                                 \
    if (!(condition)) [[unlikely]] {                                                   \
      std::fprintf(stderr, "%s:%d: invariant does not hold: %s\n", __FILE__, __LINE__, \
                   #condition);                                                        \
      std::abort();                                                                    \
    }                                                                                  \
  } while (false)

#endif  // WEIGHTD_COMMON_CHECK_H_
