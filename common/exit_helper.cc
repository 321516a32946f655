#include "common/exit_helper.h"

#include "common/raw_call.h"

#if WEIGHTD_RAW_CALLS

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>

namespace weightd {
namespace {

constexpr size_t kStackBytes = 32 * 1024;
constexpr size_t kBufferBytes = 4096;
constexpr size_t kTargetBytes = 512;
// Where the end of the process cannot be waited for, how often it is looked for.
constexpr timespec kLookInterval = {.tv_sec = 0, .tv_nsec = 100'000'000};

// Whose exit helper there is; 0: none.
std::atomic<pid_t> owner = 0;

template <typename T>
WEIGHTD_RAW_FUNCTION long Address(const T* pointer) {
  return reinterpret_cast<long>(pointer);
}

WEIGHTD_RAW_FUNCTION bool StartsWith(const char* text, size_t length, const char* prefix) {
  for (size_t i = 0; prefix[i] != '\0'; ++i) {
    if (i >= length || text[i] != prefix[i]) return false;
  }
  return true;
}

WEIGHTD_RAW_FUNCTION bool Contains(const char* text, size_t length, const char* part) {
  for (size_t i = 0; i < length; ++i) {
    if (StartsWith(text + i, length - i, part)) return true;
  }
  return false;
}

WEIGHTD_RAW_FUNCTION bool EndsWith(const char* text, size_t length, const char* suffix) {
  size_t suffix_length = 0;
  while (suffix[suffix_length] != '\0') ++suffix_length;
  return suffix_length <= length &&
         StartsWith(text + (length - suffix_length), suffix_length, suffix);
}

WEIGHTD_RAW_FUNCTION void Pause() { RawCall(SYS_nanosleep, Address(&kLookInterval), 0); }

// Until the last thread of `daemon`, the parent, has ended.
WEIGHTD_RAW_FUNCTION void AwaitEnd(pid_t daemon) {
  while (RawCall(SYS_getppid) == daemon) {
    const long fd = RawCall(SYS_pidfd_open, daemon, 0);
    if (fd < 0) {
      Pause();
      continue;
    }
    // The descriptor may be of another process only where the parent has ended.
    while (RawCall(SYS_getppid) == daemon) {
      pollfd end = {.fd = static_cast<int>(fd), .events = POLLIN, .revents = 0};
      if (RawCall(SYS_ppoll, Address(&end), 1) == 1) break;
    }
    RawCall(SYS_close, fd);
    return;
  }
  Pause();  // its other threads are about to
}

WEIGHTD_RAW_FUNCTION void LetGo(long folder, const char* name) {
  char target[kTargetBytes];
  const long length = RawCall(SYS_readlinkat, folder, Address(name), Address(target), kTargetBytes);
  if (length <= 0) return;
  const auto size = static_cast<size_t>(length);
  const bool is_lock = EndsWith(target, size, ".lock");
  if (!is_lock && !StartsWith(target, size, "socket:") && !StartsWith(target, size, "pipe:") &&
      !StartsWith(target, size, "/memfd:")) {
    return;
  }
  long fd = 0;
  for (const char* digit = name; *digit != '\0'; ++digit) fd = fd * 10 + (*digit - '0');
  // A file that its volume is long in closing is unlocked before.
  if (is_lock) RawCall(SYS_flock, fd, LOCK_UN);
  RawCall(SYS_close, fd);
}

// Locks, sockets, pipes and the memory of models. The names of descriptors ask no volume.
WEIGHTD_RAW_FUNCTION void CloseWhatOthersWaitFor() {
  const long folder = RawCall(SYS_openat, AT_FDCWD, Address("/proc/self/fd"),
                              O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (folder < 0) return;
  alignas(dirent64) char entries[kBufferBytes];
  while (true) {
    const long bytes = RawCall(SYS_getdents64, folder, Address(entries), kBufferBytes);
    if (bytes <= 0) break;
    for (long at = 0; at < bytes;) {
      const auto* const entry = reinterpret_cast<const dirent64*>(entries + at);
      at += entry->d_reclen;
      const char* const name = entry->d_name;
      if (name[0] >= '0' && name[0] <= '9') LetGo(folder, name);
    }
  }
  RawCall(SYS_close, folder);
}

// A line of /proc/self/maps, as far as it matters.
struct MapsLine {
  uint64_t begin = 0;
  uint64_t end = 0;
  bool in_end = false;      // begin is over
  bool in_rest = false;     // end is over
  char rest[kTargetBytes];  // of the line, as much as fits
  size_t rest_bytes = 0;
};

WEIGHTD_RAW_FUNCTION void Add(MapsLine& line, char next) {
  if (line.in_rest) {
    if (line.rest_bytes < kTargetBytes) line.rest[line.rest_bytes++] = next;
    return;
  }
  if (next == ' ') {
    line.in_rest = true;
  } else if (next == '-') {
    line.in_end = true;
  } else {
    uint64_t& number = line.in_end ? line.end : line.begin;
    number = number * 16 + static_cast<uint64_t>(next <= '9' ? next - '0' : next - 'a' + 10);
  }
}

WEIGHTD_RAW_FUNCTION void UnmapModels() {
  const long maps =
      RawCall(SYS_openat, AT_FDCWD, Address("/proc/self/maps"), O_RDONLY | O_CLOEXEC, 0);
  if (maps < 0) return;
  char text[kBufferBytes];
  MapsLine line;
  while (true) {
    const long bytes = RawCall(SYS_read, maps, Address(text), kBufferBytes);
    if (bytes <= 0) break;
    for (long i = 0; i < bytes; ++i) {
      if (text[i] != '\n') {
        Add(line, text[i]);
        continue;
      }
      if (Contains(line.rest, line.rest_bytes, "/memfd:")) {
        RawCall(SYS_munmap, static_cast<long>(line.begin),
                static_cast<long>(line.end - line.begin));
      }
      line.begin = line.end = line.rest_bytes = 0;
      line.in_end = line.in_rest = false;
    }
  }
  RawCall(SYS_close, maps);
}

// The helper's whole life.
WEIGHTD_RAW_FUNCTION int ExitHelperMain(void* daemon) {
  AwaitEnd(static_cast<pid_t>(reinterpret_cast<intptr_t>(daemon)));
  CloseWhatOthersWaitFor();
  UnmapModels();
  RawCall(SYS_exit, 0);
  return 0;
}

bool Start(pid_t self) {
  void* const stack =
      ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack == MAP_FAILED) return false;
  // No signal is for it.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t helper = ::clone(&ExitHelperMain, static_cast<char*>(stack) + kStackBytes,
                               CLONE_VM | CLONE_FS | CLONE_FILES,
                               reinterpret_cast<void*>(static_cast<intptr_t>(self)));  // NOLINT
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (helper < 0) ::munmap(stack, kStackBytes);
  return helper > 0;
}

}  // namespace

void EnsureExitHelper() {
  const pid_t self = ::getpid();
  pid_t seen = owner.load();
  if (seen == self || !owner.compare_exchange_strong(seen, self)) return;
  if (!Start(self)) owner.store(0);
}

}  // namespace weightd

#else

namespace weightd {

void EnsureExitHelper() {}

}  // namespace weightd

#endif  // WEIGHTD_RAW_CALLS
