#ifndef WEIGHTD_DAEMON_DEVICE_WARNING_LIST_H_
#define WEIGHTD_DAEMON_DEVICE_WARNING_LIST_H_

#include <algorithm>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "daemon/device/device.h"

namespace weightd {

// What Device::warnings() returns: each sentence once, kDeviceWarningsMax at most. Thread-safe.
class WarningList {
 public:
  void Add(const std::string& sentence) {
    absl::MutexLock lock(&mu_);
    if (std::find(sentences_.begin(), sentences_.end(), sentence) != sentences_.end()) return;
    if (sentences_.size() < kDeviceWarningsMax) sentences_.push_back(sentence);
  }
  std::vector<std::string> Get() const {
    absl::MutexLock lock(&mu_);
    return sentences_;
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<std::string> sentences_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_WARNING_LIST_H_
