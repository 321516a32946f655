#ifndef WEIGHTD_DAEMON_STORAGE_READ_PROGRESS_H_
#define WEIGHTD_DAEMON_STORAGE_READ_PROGRESS_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "daemon/storage/read_queue.h"

// What to do after each result of one read: the rules that all engines share.
//
//   result                      next
//   all bytes                   done
//   some bytes                  read on: buffered from the next byte, direct from the last aligned
//                               one; a direct read that did not pass one aligned block goes
//                               on buffered, since only that can tell the file's end from an
//                               early stop
//   0 bytes                     DATA_LOSS/CHECKPOINT_CHANGED: the file ends before the read does
//   EAGAIN, EINTR               the same again after a pause; after `retries_max` of them one
//                               plain pread; after that the error itself, as READ_FAILED
//   EINVAL, EOPNOTSUPP, direct  the rest buffered, once
//   any other error             READ_FAILED with file, offset and the error's text

namespace weightd {

// The most bytes that one call asks for. Linux stops at 2 GiB less a page, and so would a length in
// 32 bits.
inline constexpr uint64_t kReadPartBytesMax = uint64_t{1} << 30;

// One call to make.
struct ReadPart {
  enum class Kind {
    kRead,   // with the engine's own means
    kPread,  // with pread(2): the engine's means did not get through
    kNone,   // nothing: the read is finished, see ReadProgress::status()
  };
  Kind kind = Kind::kNone;
  ReadMode mode = ReadMode::kDirect;
  uint64_t offset = 0;    // in the file
  uint64_t position = 0;  // in the buffer
  uint64_t length = 0;    // at most kReadPartBytesMax
  absl::Duration pause;   // before the call
};

// The pause before retry number `retry` (from 1): 1 ms, doubling, at most 100 ms.
absl::Duration RetryPause(uint32_t retry);

// One read on its way. Thread-compatible; makes no call itself.
class ReadProgress {
 public:
  ReadProgress() = default;
  // `request` has passed ValidateReadRequest.
  ReadProgress(const ReadRequest& request, uint32_t retries_max);

  const ReadRequest& request() const { return request_; }
  // The call to make now.
  const ReadPart& part() const { return part_; }
  // Takes what the call for part() gave, bytes or -errno, and decides the next part().
  void OnResult(int64_t result);

  bool finished() const { return part_.kind == ReadPart::Kind::kNone; }
  // How it ended, once finished.
  const absl::Status& status() const { return status_; }
  bool buffered_instead() const { return buffered_instead_; }
  // The completion, once finished; takes status() away.
  ReadDone TakeDone();

 private:
  void OnError(int error);
  void OnBytes(uint64_t bytes);
  void Continue();
  void Finish(absl::Status status);

  ReadRequest request_;
  uint32_t retries_max_ = 0;
  uint32_t retries_ = 0;
  bool buffered_instead_ = false;
  uint64_t position_ = 0;  // bytes of the buffer that are there
  ReadPart part_;
  absl::Status status_;
};

// pread(2), as a seam: tests put a failing one in its place.
using PreadFunction = std::function<ssize_t(int fd, void* buffer, size_t length, off_t offset)>;
PreadFunction SystemPread();

// Makes the call for `progress.part()` with `pread`, on this thread, and takes its result. The
// pause is the caller's.
void RunPart(ReadProgress& progress, const PreadFunction& pread);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_READ_PROGRESS_H_
