#ifndef WEIGHTD_DAEMON_RESIDENCY_COPY_HOLD_H_
#define WEIGHTD_DAEMON_RESIDENCY_COPY_HOLD_H_

#include <functional>
#include <utility>

#include "daemon/residency/table_types.h"

namespace weightd {

// A hold on a resident copy: while it lives the copy is not evicted. The end of it never blocks,
// and may come on any thread; the Residency that gave it must still live.
class CopyHold {
 public:
  CopyHold(HeldCopy held, std::function<void(CopyId)> give_back)
      : held_(std::move(held)), give_back_(std::move(give_back)) {}
  CopyHold(const CopyHold&) = delete;
  CopyHold& operator=(const CopyHold&) = delete;
  ~CopyHold() {
    held_.allocation.reset();
    give_back_(held_.content->copy);
  }

  const CopyContent& content() const { return *held_.content; }
  const Allocation& allocation() const { return *held_.allocation; }
  const HeldCopy& held() const { return held_; }

 private:
  HeldCopy held_;
  const std::function<void(CopyId)> give_back_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_COPY_HOLD_H_
