#include "tests/contract/storage/uring_results.h"

#include <dlfcn.h>
#include <liburing.h>

#include <utility>

namespace weightd::testing {
namespace {

thread_local ScopedUringResults::Rewrite active;
thread_local uint64_t seen_count = 0;
thread_local unsigned seen_tail = 0;  // completions before it were rewritten already

void RewriteNew(io_uring* ring) {
  if (!active) return;
  unsigned position = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(ring, position, cqe) {
    if (static_cast<int>(position - seen_tail) < 0) continue;
    cqe->res = active(++seen_count, cqe->res);
    seen_tail = position + 1;
  }
}

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

ScopedUringResults::ScopedUringResults(Rewrite rewrite) {
  active = std::move(rewrite);
  seen_count = 0;
  seen_tail = 0;
}
ScopedUringResults::~ScopedUringResults() { active = nullptr; }
uint64_t ScopedUringResults::results_count() const { return seen_count; }

}  // namespace weightd::testing

extern "C" int io_uring_submit_and_get_events(io_uring* ring) {
  static const auto real = weightd::testing::Real<int (*)(io_uring*)>(__func__);
  const int result = real(ring);
  weightd::testing::RewriteNew(ring);
  return result;
}

extern "C" int io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** cqe, unsigned wait,
                                                __kernel_timespec* timeout, sigset_t* signals) {
  static const auto real = weightd::testing::Real<int (*)(io_uring*, io_uring_cqe**, unsigned,
                                                          __kernel_timespec*, sigset_t*)>(__func__);
  const int result = real(ring, cqe, wait, timeout, signals);
  weightd::testing::RewriteNew(ring);
  return result;
}
