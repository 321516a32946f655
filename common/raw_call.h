#ifndef WEIGHTD_COMMON_RAW_CALL_H_
#define WEIGHTD_COMMON_RAW_CALL_H_

// System calls as the processor makes them, for processes that share a daemon's memory and are none
// of its threads (volume_call.cc, exit_helper.cc). They have another thread's registers for
// thread-local storage, or none that lives, and so use none: no errno, no stack protector, no
// sanitizer, no function of a library.

#if defined(__SANITIZE_THREAD__)  // which would look for thread-local storage there
#define WEIGHTD_RAW_CALLS 0
#elif defined(__x86_64__) || defined(__aarch64__)
#define WEIGHTD_RAW_CALLS 1
#else
#define WEIGHTD_RAW_CALLS 0
#endif

#if WEIGHTD_RAW_CALLS

// Of every function that runs there. A loop must not become a call of memset(3).
#if defined(__clang__)
#define WEIGHTD_RAW_FUNCTION                                                              \
  __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined"), \
                 no_stack_protector, no_builtin))
#else
#define WEIGHTD_RAW_FUNCTION                                                              \
  __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined"), \
                 no_stack_protector, optimize("no-tree-loop-distribute-patterns")))
#endif

namespace weightd {

// What the kernel gives: minus errno for an error.
#if defined(__x86_64__)
inline __attribute__((always_inline)) long RawCall(long number, long a = 0, long b = 0, long c = 0,
                                                   long d = 0, long e = 0, long f = 0) {
  long result = 0;
  register long r10 asm("r10") = d;  // NOLINT
  register long r8 asm("r8") = e;    // NOLINT
  register long r9 asm("r9") = f;    // NOLINT
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
#else
inline __attribute__((always_inline)) long RawCall(long number, long a = 0, long b = 0, long c = 0,
                                                   long d = 0, long e = 0, long f = 0) {
  register long x8 asm("x8") = number;  // NOLINT
  register long x0 asm("x0") = a;       // NOLINT
  register long x1 asm("x1") = b;       // NOLINT
  register long x2 asm("x2") = c;       // NOLINT
  register long x3 asm("x3") = d;       // NOLINT
  register long x4 asm("x4") = e;       // NOLINT
  register long x5 asm("x5") = f;       // NOLINT
  asm volatile("svc #0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
  return x0;
}
#endif

}  // namespace weightd

#endif  // WEIGHTD_RAW_CALLS

#endif  // WEIGHTD_COMMON_RAW_CALL_H_
