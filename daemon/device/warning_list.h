#ifndef WEIGHTD_DAEMON_DEVICE_WARNING_LIST_H_
#define WEIGHTD_DAEMON_DEVICE_WARNING_LIST_H_

#include <algorithm>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/warning.h"
#include "daemon/device/device.h"

namespace weightd {

// What Device::warnings() returns: each once, kDeviceWarningsMax at most. Thread-safe.
class WarningList {
 public:
  void Add(WarningReason reason, const std::string& text) {
    Warning warning = {.reason = reason, .text = text};
    absl::MutexLock lock(&mu_);
    if (std::find(warnings_.begin(), warnings_.end(), warning) != warnings_.end()) return;
    if (warnings_.size() < kDeviceWarningsMax) warnings_.push_back(std::move(warning));
  }
  Warnings Get() const {
    absl::MutexLock lock(&mu_);
    return warnings_;
  }

 private:
  mutable absl::Mutex mu_;
  Warnings warnings_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_WARNING_LIST_H_
