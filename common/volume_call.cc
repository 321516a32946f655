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
#include <optional>

#include "common/exit_helper.h"
#include "common/raw_call.h"

namespace weightd {
namespace {

enum State : uint32_t { kIdle, kAsked, kAnswered, kEnd };

// What thread and helper share. Each waits until the other has set `state`.
struct Mailbox {
  pid_t daemon = 0;
  uint32_t state = kIdle;
  long number = 0;
  long arguments[5] = {};
  long result = 0;  // as the kernel gives it: minus errno for an error
};

std::atomic<int> calls_running = 0;

constexpr size_t kStackBytes = 16 * 1024;

#if WEIGHTD_RAW_CALLS

// The helper's whole life.
WEIGHTD_RAW_FUNCTION int HelperMain(void* shared) {
  auto* const box = static_cast<Mailbox*>(shared);
  RawCall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
  // A daemon that has ended before that sends nothing any more.
  if (RawCall(SYS_getppid) != box->daemon) RawCall(SYS_exit, 0);
  while (true) {
    const uint32_t state = __atomic_load_n(&box->state, __ATOMIC_ACQUIRE);
    if (state == kAsked) {
      const long* a = box->arguments;
      box->result = RawCall(box->number, a[0], a[1], a[2], a[3], a[4]);
      __atomic_store_n(&box->state, kAnswered, __ATOMIC_RELEASE);
      RawCall(SYS_futex, reinterpret_cast<long>(&box->state), FUTEX_WAKE, INT_MAX);
    } else if (state == kEnd) {
      RawCall(SYS_exit, 0);
    } else {
      RawCall(SYS_futex, reinterpret_cast<long>(&box->state), FUTEX_WAIT, state);
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
    EnsureExitHelper();
    pid_ = 0;
    error_ = ENOMEM;
    if (stack_ == MAP_FAILED) {
      stack_ =
          ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (stack_ == MAP_FAILED) return;
    box_.daemon = ::getpid();
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

#endif  // WEIGHTD_RAW_CALLS

}  // namespace

namespace {

// As VolumeCall(); none without a helper now.
std::optional<long> CallIfHelped(long number, const long (&arguments)[5]) {
#if WEIGHTD_RAW_CALLS
  Helper& helper = OwnHelper();
  if (helper.Ready() > 0) return helper.Call(number, arguments);
  if (helper.IsRefused()) return std::nullopt;
#endif
  return ::syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]);
}

}  // namespace

long VolumeCall(long number, long a, long b, long c, long d, long e) {
  if (const std::optional<long> result = CallIfHelped(number, {a, b, c, d, e})) return *result;
  errno = EAGAIN;
  return -1;
}

void VolumeClose(int fd) {
  constexpr timespec kPause = {.tv_sec = 0, .tv_nsec = 10'000'000};
  // An error of the volume's is none of closing: the descriptor is gone, and its number others'.
  while (!CallIfHelped(SYS_close, {fd}).has_value()) (void)::nanosleep(&kPause, nullptr);
}

ssize_t VolumePread(int fd, void* to, size_t length, off_t offset) {
  return VolumeCall(SYS_pread64, fd, reinterpret_cast<long>(to), static_cast<long>(length), offset);
}

int VolumeCallsRunning() { return calls_running.load(std::memory_order_relaxed); }

pid_t VolumeHelperPid() {
#if WEIGHTD_RAW_CALLS
  return OwnHelper().Ready();
#else
  return 0;
#endif
}

}  // namespace weightd
