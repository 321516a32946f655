#include "common/volume_call.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <ctime>

namespace weightd {
namespace {

enum State : uint32_t { kIdle, kAsked, kAnswered, kEnd };

// What thread and helper share. Each waits until the other has set `state`.
struct Mailbox {
  const pid_t daemon = ::getpid();
  uint32_t state = kIdle;
  long number = 0;
  long arguments[5] = {};
  long result = 0;  // as the kernel gives it: minus errno for an error
};

std::atomic<int> calls_running = 0;

constexpr size_t kStackBytes = 16 * 1024;

#if defined(__SANITIZE_THREAD__)  // which would look for thread-local storage in the helper
#define WEIGHTD_VOLUME_HELPERS 0
#elif defined(__x86_64__)
#define WEIGHTD_VOLUME_HELPERS 1
inline __attribute__((always_inline)) long RawCall(long number, long a, long b, long c, long d,
                                                   long e, long f) {
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
#elif defined(__aarch64__)
#define WEIGHTD_VOLUME_HELPERS 1
inline __attribute__((always_inline)) long RawCall(long number, long a, long b, long c, long d,
                                                   long e, long f) {
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
#else
#define WEIGHTD_VOLUME_HELPERS 0
#endif

#if WEIGHTD_VOLUME_HELPERS

// The helper's whole life. It has its thread's registers for thread-local storage, and so uses
// none: no errno, no stack protector, no sanitizer, no function of a library.
__attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined"),
               no_stack_protector)) int
HelperMain(void* shared) {
  auto* const box = static_cast<Mailbox*>(shared);
  RawCall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
  // A daemon that has ended before that sends nothing any more.
  if (RawCall(SYS_getppid, 0, 0, 0, 0, 0, 0) != box->daemon) RawCall(SYS_exit, 0, 0, 0, 0, 0, 0);
  while (true) {
    const uint32_t state = __atomic_load_n(&box->state, __ATOMIC_ACQUIRE);
    if (state == kAsked) {
      const long* a = box->arguments;
      box->result = RawCall(box->number, a[0], a[1], a[2], a[3], a[4], 0);
      __atomic_store_n(&box->state, kAnswered, __ATOMIC_RELEASE);
      RawCall(SYS_futex, reinterpret_cast<long>(&box->state), FUTEX_WAKE, INT_MAX, 0, 0, 0);
    } else if (state == kEnd) {
      RawCall(SYS_exit, 0, 0, 0, 0, 0, 0);
    } else {
      RawCall(SYS_futex, reinterpret_cast<long>(&box->state), FUTEX_WAIT, state, 0, 0, 0);
    }
  }
}

void Set(Mailbox& box, uint32_t state) {
  __atomic_store_n(&box.state, state, __ATOMIC_RELEASE);
  ::syscall(SYS_futex, &box.state, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// The helper of one thread. Thread-compatible.
class Helper {
 public:
  Helper() { Start(); }
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;
  ~Helper() {
    if (IsAlive()) {
      Set(box_, kEnd);
      while (::waitpid(pid_, nullptr, __WALL) < 0 && errno == EINTR) {
      }
    }
    if (stack_ != MAP_FAILED) ::munmap(stack_, kStackBytes);
  }

  // Of one that is alive; 0: there can be none. One that somebody killed is replaced.
  pid_t Ready() {
    if (!IsAlive()) Start();
    return pid_;
  }

  // There is none, but may be one later.
  bool IsRefused() const { return pid_ == 0 && (error_ == EAGAIN || error_ == ENOMEM); }

  // EIO where somebody kills the helper meanwhile: nobody knows how far the call came.
  long Call(long number, const long (&arguments)[5]) {
    box_.number = number;
    for (int i = 0; i < 5; ++i) box_.arguments[i] = arguments[i];
    calls_running.fetch_add(1, std::memory_order_relaxed);
    Set(box_, kAsked);
    while (!IsAnswered()) {
      const long waited =
          ::syscall(SYS_futex, &box_.state, FUTEX_WAIT, kAsked, &kLookInterval, nullptr, 0);
      if (waited < 0 && errno == ETIMEDOUT && !IsAlive()) break;
    }
    // Its last act may have been the answer.
    const long result = IsAnswered() ? box_.result : -EIO;
    calls_running.fetch_sub(1, std::memory_order_relaxed);
    __atomic_store_n(&box_.state, kIdle, __ATOMIC_RELEASE);
    if (result < 0 && result > -4096) {
      errno = static_cast<int>(-result);
      return -1;
    }
    return result;
  }

 private:
  // How often who waits looks whether the helper lives.
  static constexpr timespec kLookInterval = {.tv_sec = 0, .tv_nsec = 500'000'000};

  void Start() {
    pid_ = 0;
    error_ = ENOMEM;
    if (stack_ == MAP_FAILED) {
      stack_ =
          ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (stack_ == MAP_FAILED) return;
    box_.state = kIdle;
    // No signal is for it.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_ = ::clone(&HelperMain, static_cast<char*>(stack_) + kStackBytes,
                   CLONE_VM | CLONE_FS | CLONE_FILES, &box_);
    error_ = pid_ < 0 ? errno : 0;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid_ < 0) pid_ = 0;
  }
  bool IsAnswered() const { return __atomic_load_n(&box_.state, __ATOMIC_ACQUIRE) == kAnswered; }
  bool IsAlive() {
    if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG | __WALL) != 0) pid_ = 0;
    return pid_ > 0;
  }

  Mailbox box_;
  void* stack_ = MAP_FAILED;
  pid_t pid_ = 0;
  int error_ = 0;  // why there is none
};

Helper& OwnHelper() {
  thread_local Helper helper;
  return helper;
}

#endif  // WEIGHTD_VOLUME_HELPERS

}  // namespace

long VolumeCall(long number, long a, long b, long c, long d, long e) {
#if WEIGHTD_VOLUME_HELPERS
  Helper& helper = OwnHelper();
  if (helper.Ready() > 0) return helper.Call(number, {a, b, c, d, e});
  if (helper.IsRefused()) {
    errno = EAGAIN;
    return -1;
  }
#endif
  return ::syscall(number, a, b, c, d, e);
}

void VolumeClose(int fd) {
  constexpr int kTries = 100;
  constexpr timespec kPause = {.tv_sec = 0, .tv_nsec = 10'000'000};
  for (int i = 0; i < kTries; ++i) {
    if (VolumeCall(SYS_close, fd) == 0 || errno != EAGAIN) return;
    (void)::nanosleep(&kPause, nullptr);
  }
  ::close(fd);
}

ssize_t VolumePread(int fd, void* to, size_t length, off_t offset) {
  return VolumeCall(SYS_pread64, fd, reinterpret_cast<long>(to), static_cast<long>(length), offset);
}

int VolumeCallsRunning() { return calls_running.load(std::memory_order_relaxed); }

pid_t VolumeHelperPid() {
#if WEIGHTD_VOLUME_HELPERS
  return OwnHelper().Ready();
#else
  return 0;
#endif
}

}  // namespace weightd
