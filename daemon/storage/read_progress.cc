#include "daemon/storage/read_progress.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/volume_call.h"

namespace weightd {

absl::Duration RetryPause(uint32_t retry) {
  constexpr uint32_t kDoublingsMax = 7;  // past 100 ms
  const uint32_t doublings = std::min(retry > 0 ? retry - 1 : 0, kDoublingsMax);
  return std::min(absl::Milliseconds(int64_t{1} << doublings), absl::Milliseconds(100));
}

ReadProgress::ReadProgress(const ReadRequest& request, uint32_t retries_max)
    : request_(request), retries_max_(retries_max) {
  part_.kind = ReadPart::Kind::kRead;
  part_.mode = request.mode;
  Continue();
}

void ReadProgress::OnResult(int64_t result) {
  if (result < 0) {
    OnError(static_cast<int>(-result));
    return;
  }
  const auto bytes = static_cast<uint64_t>(result);
  if (bytes == 0) {
    Finish(ErrorWithReason(
        absl::StatusCode::kDataLoss, Reason::kCheckpointChanged,
        absl::StrCat("read ", request_.file->path(), " at ", request_.offset, ": file ends after ",
                     position_, " of ", request_.length, " bytes")));
  } else if (bytes > part_.length) {
    Finish(absl::InternalError(absl::StrCat("read ", request_.file->path(), " at ", part_.offset,
                                            ": got ", bytes, " of ", part_.length,
                                            " bytes asked for")));
  } else {
    OnBytes(bytes);
  }
}

void ReadProgress::OnBytes(uint64_t bytes) {
  if (bytes >= request_.length - position_) {
    position_ = request_.length;
    Finish(absl::OkStatus());
    return;
  }
  const uint64_t arrived = position_ + bytes;
  if (part_.mode == ReadMode::kBuffered) {
    position_ = arrived;
  } else if (const uint64_t floor = AlignDown(arrived, request_.file->direct_alignment());
             floor > position_) {
    position_ = floor;
  } else {
    // Read again from the floor, this would give the same bytes for ever.
    position_ = arrived;
    part_.mode = ReadMode::kBuffered;
  }
  Continue();
}

void ReadProgress::OnError(int error) {
  const bool retryable = error == EAGAIN || error == EINTR;
  if (retryable && part_.kind == ReadPart::Kind::kRead) {
    if (retries_ < retries_max_) {
      part_.pause = RetryPause(++retries_);
    } else {
      part_.kind = ReadPart::Kind::kPread;
      part_.pause = absl::ZeroDuration();
    }
    return;
  }
  if ((error == EINVAL || error == EOPNOTSUPP) && part_.mode == ReadMode::kDirect) {
    part_.mode = ReadMode::kBuffered;
    buffered_instead_ = true;
    Continue();
    return;
  }
  Finish(ReadError(error, request_.file->path(), part_.offset));
}

void ReadProgress::Continue() {
  uint64_t length = request_.length - position_;
  if (part_.mode == ReadMode::kDirect) {
    length = AlignUp(length, request_.file->direct_alignment());
  }
  part_.offset = request_.offset + position_;
  part_.position = position_;
  part_.length = std::min(length, kReadPartBytesMax);
  part_.pause = absl::ZeroDuration();
}

void ReadProgress::Finish(absl::Status status) {
  part_.kind = ReadPart::Kind::kNone;
  status_ = std::move(status);
}

ReadDone ReadProgress::TakeDone() {
  return ReadDone{.tag = request_.tag,
                  .status = std::move(status_),
                  .buffered_instead = buffered_instead_,
                  .retries = retries_};
}

namespace {

struct SystemPreadCall {
  ssize_t operator()(int fd, void* buffer, size_t length, off_t offset) const {
    return ::pread(fd, buffer, length, offset);
  }
};

}  // namespace

PreadFunction SystemPread() { return SystemPreadCall(); }

void RunPart(ReadProgress& progress, const PreadFunction& pread) {
  const ReadPart& part = progress.part();
  const File& file = *progress.request().file;
  // What a FUSE server does not answer cannot be interrupted.
  const bool may_hang = MayHang(file.file_system()) && pread.target<SystemPreadCall>() != nullptr;
  const ssize_t result = (may_hang ? PreadFunction(&VolumePread) : pread)(
      file.descriptor(part.mode), progress.request().buffer.data() + part.position, part.length,
      static_cast<off_t>(part.offset));
  progress.OnResult(result < 0 ? -int64_t{errno} : int64_t{result});
}

}  // namespace weightd
