#ifndef WEIGHTD_COMMON_LISTENER_H_
#define WEIGHTD_COMMON_LISTENER_H_

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/outbox.h"

namespace weightd {

// One who is told what happens, or nobody. Thread-safe; the listener is called without locks, one
// call at a time.
template <typename T>
class Listener {
 public:
  using Call = typename Outbox<T>::Listener;

  // When this returns, the one before is not called any more; null is none. Not for the listener.
  void Set(Call call) {
    std::shared_ptr<Outbox<T>> next;
    if (call != nullptr) next = std::make_shared<Outbox<T>>(std::move(call));
    {
      absl::MutexLock lock(&mu_);
      outbox_.swap(next);
    }
    if (next != nullptr) next->Stop();
  }

  // Returns when the listener knows. Not for the listener.
  void Tell(T value) {
    std::shared_ptr<Outbox<T>> outbox;
    {
      absl::MutexLock lock(&mu_);
      outbox = outbox_;
    }
    if (outbox == nullptr) return;
    outbox->Put(std::move(value));
    outbox->DeliverAll();
  }

 private:
  absl::Mutex mu_;
  std::shared_ptr<Outbox<T>> outbox_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_COMMON_LISTENER_H_
