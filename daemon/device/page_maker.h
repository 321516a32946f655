#ifndef WEIGHTD_DAEMON_DEVICE_PAGE_MAKER_H_
#define WEIGHTD_DAEMON_DEVICE_PAGE_MAKER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "common/thread.h"

namespace weightd {

// Bytes of host memory that are promised and whose pages are not made yet, over all allocations:
// the kernel still counts them as available.
using UnmadeBytes = std::shared_ptr<std::atomic<uint64_t>>;

// Makes the pages of a mapped memfd from its start to its end, on a thread of its own, so that
// reads into them begin at once and meet no page fault. Thread-safe.
class PageMaker {
 public:
  // `memory` is `fd`'s, mapped writable; both outlive it.
  PageMaker(int fd, absl::Span<std::byte> memory, UnmadeBytes unmade);
  PageMaker(const PageMaker&) = delete;
  PageMaker& operator=(const PageMaker&) = delete;
  // Stops at the next step of the way.
  ~PageMaker();

  // Bytes from the start that have pages. RESOURCE_EXHAUSTED when the rest cannot be had.
  absl::StatusOr<uint64_t> ready_bytes() const;
  // Waits for the end, good or bad.
  absl::Status Finish();
  // Makes no more, and promises none: ends the step that it is at.
  void Stop();

 private:
  void Run();
  absl::Status MakeStep(uint64_t offset, uint64_t bytes) const;

  const int fd_;
  const absl::Span<std::byte> memory_;
  const UnmadeBytes unmade_;
  std::atomic<uint64_t> ready_bytes_ = 0;
  std::atomic<uint64_t> promised_bytes_;  // its part of `unmade_`
  std::atomic<bool> stop_ = false;
  std::atomic<bool> failed_ = false;  // status_ says why
  mutable absl::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  Thread thread_;  // none where no thread could be had: then all is made before
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_PAGE_MAKER_H_
