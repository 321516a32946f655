#ifndef WEIGHTD_DAEMON_SERVICE_FAIR_QUEUE_H_
#define WEIGHTD_DAEMON_SERVICE_FAIR_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>

namespace weightd {

// What users wait for, handed out in turns: one of each user who waits, then again, whoever has put
// in how many. Thread-compatible.
template <typename T>
class FairQueue {
 public:
  void Push(uint32_t uid, T item) {
    waiting_[uid].push_back(std::move(item));
    ++size_;
  }

  // Nothing when it is empty.
  std::optional<T> Pop() {
    if (waiting_.empty()) return std::nullopt;
    auto next = waiting_.upper_bound(last_uid_);
    if (next == waiting_.end() || !any_) next = waiting_.begin();
    any_ = true;
    last_uid_ = next->first;
    T item = std::move(next->second.front());
    next->second.pop_front();
    if (next->second.empty()) waiting_.erase(next);
    --size_;
    return item;
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  std::map<uint32_t, std::deque<T>> waiting_;
  uint32_t last_uid_ = 0;
  bool any_ = false;  // one was handed out
  size_t size_ = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_FAIR_QUEUE_H_
