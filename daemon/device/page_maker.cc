#include "daemon/device/page_maker.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/format_units.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace weightd {
namespace {

// Small enough that reads begin and a cancel is heard at once.
constexpr uint64_t kStepBytes = 16 * kMiB;
// System calls on much memory are broken off by signals; nobody sends a thousand of them.
constexpr int kInterruptionsMax = 1000;

template <typename Call>
int RetryWhenInterrupted(Call call) {
  int error = EINTR;
  for (int i = 0; i < kInterruptionsMax && error == EINTR; ++i) error = call() == 0 ? 0 : errno;
  return error;
}

}  // namespace

PageMaker::PageMaker(int fd, absl::Span<std::byte> memory, UnmadeBytes unmade)
    : fd_(fd), memory_(memory), unmade_(std::move(unmade)), promised_bytes_(memory.size()) {
  unmade_->fetch_add(memory_.size());
  absl::StatusOr<Thread> thread = Thread::Start("pages", [this] { Run(); });
  if (thread.ok()) {
    thread_ = *std::move(thread);
  } else {
    Run();
  }
}

PageMaker::~PageMaker() { Stop(); }

absl::StatusOr<uint64_t> PageMaker::ready_bytes() const {
  if (failed_.load()) {
    absl::MutexLock lock(&mu_);
    return status_;
  }
  return ready_bytes_.load();
}

absl::Status PageMaker::Finish() {
  thread_.Join();
  return ready_bytes().status();
}

void PageMaker::Stop() {
  stop_.store(true);
  thread_.Join();
  unmade_->fetch_sub(promised_bytes_.exchange(0));
}

void PageMaker::Run() {
  uint64_t offset = 0;
  while (offset < memory_.size() && !stop_.load()) {
    const uint64_t bytes = std::min(kStepBytes, memory_.size() - offset);
    if (absl::Status status = MakeStep(offset, bytes); !status.ok()) {
      absl::MutexLock lock(&mu_);
      status_ = std::move(status);
      failed_.store(true);
      return;
    }
    offset += bytes;
    promised_bytes_.fetch_sub(bytes);
    unmade_->fetch_sub(bytes);
    ready_bytes_.store(offset);
  }
}

absl::Status PageMaker::MakeStep(uint64_t offset, uint64_t bytes) const {
  int error = RetryWhenInterrupted(
      [&] { return ::madvise(memory_.data() + offset, bytes, MADV_POPULATE_WRITE); });
  if (error == EINVAL) {
    // A kernel before 5.14 has no such advice: the file has the pages then, and they are mapped as
    // they are touched.
    error = RetryWhenInterrupted(
        [&] { return ::fallocate(fd_, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)); });
  }
  if (error == 0) return absl::OkStatus();
  if (error == EFAULT) error = ENOMEM;  // what a fault for want of memory is called there
  const absl::Status status =
      PosixError(error, absl::StrCat("make pages of ", FormatBytes(memory_.size()),
                                     " of host memory: after ", FormatBytes(offset)));
  return ErrorWithReason(status.code(), Reason::kDeviceFailed, status.message());
}

}  // namespace weightd
