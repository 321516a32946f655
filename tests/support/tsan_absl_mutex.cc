// What ThreadSanitizer must know of Abseil's locks.
//
// Debian's Abseil is a shared library without instrumentation, so TSan sees no order between two
// threads that take turns with an absl::Mutex and reports each such pair as a race. The functions
// here stand in front of the library's, call them, and tell TSan what they did. Reads within are
// ignored, since the library evaluates the conditions of other threads there. Only in builds with
// TSan.

#if defined(__SANITIZE_THREAD__)

#include <dlfcn.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace {

class IgnoreReads {
 public:
  IgnoreReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

// The library's own function; the names are those of Debian 12's inline namespace.
template <typename Function>
Function Library(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

void Mutex::Lock() {
  static const auto lock = Library<void (*)(Mutex*)>("_ZN4absl7debian35Mutex4LockEv");
  {
    const IgnoreReads ignore;
    lock(this);
  }
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  static const auto unlock = Library<void (*)(Mutex*)>("_ZN4absl7debian35Mutex6UnlockEv");
  __tsan_release(this);
  const IgnoreReads ignore;
  unlock(this);
}

void Mutex::Await(const Condition& condition) {
  static const auto await =
      Library<void (*)(Mutex*, const Condition&)>("_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE");
  __tsan_release(this);
  {
    const IgnoreReads ignore;
    await(this, condition);
  }
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static const auto await = Library<bool (*)(Mutex*, const Condition&, Duration)>(
      "_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  __tsan_release(this);
  bool held = false;
  {
    const IgnoreReads ignore;
    held = await(this, condition, timeout);
  }
  __tsan_acquire(this);
  return held;
}

void Notification::Notify() {
  static const auto notify =
      Library<void (*)(Notification*)>("_ZN4absl7debian312Notification6NotifyEv");
  __tsan_release(this);
  notify(this);
}

void Notification::WaitForNotification() const {
  static const auto wait = Library<void (*)(const Notification*)>(
      "_ZNK4absl7debian312Notification19WaitForNotificationEv");
  wait(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

ABSL_NAMESPACE_END
}  // namespace absl

#endif  // __SANITIZE_THREAD__
