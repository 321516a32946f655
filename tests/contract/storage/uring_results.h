#ifndef WEIGHTD_TESTS_CONTRACT_STORAGE_URING_RESULTS_H_
#define WEIGHTD_TESTS_CONTRACT_STORAGE_URING_RESULTS_H_

#include <cstdint>
#include <functional>

namespace weightd::testing {

// Changes what the kernel answers to this thread's rings, as errors come that no file gives on
// demand (EAGAIN, ESTALE, short reads of disk files).
//
// Works by standing in front of liburing: this program's io_uring_submit_and_...() call the real
// ones, then rewrite the results in the completion ring. One at a time per thread.
class ScopedUringResults {
 public:
  // Gets each result, bytes or -errno, with its number from 1, and gives the one to see instead. To
  // lie is legal only as a kernel could: fewer bytes or an error, never more bytes.
  using Rewrite = std::function<int32_t(uint64_t number, int32_t result)>;
  explicit ScopedUringResults(Rewrite rewrite);
  ScopedUringResults(const ScopedUringResults&) = delete;
  ScopedUringResults& operator=(const ScopedUringResults&) = delete;
  ~ScopedUringResults();

  uint64_t results_count() const;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_STORAGE_URING_RESULTS_H_
