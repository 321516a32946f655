#include "daemon/storage/read_request.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// Of ioprio_set(2), as in the header.
constexpr uint16_t kIoClassShift = 13;
constexpr uint16_t kIoBestEffort = 2;
constexpr uint16_t kIoIdle = 3;
constexpr uint16_t kIoLastLevel = 7;

// The kernel takes this many registered buffers (IORING_MAX_REG_BUFFERS).
constexpr size_t kSlotsMax = 1 << 14;
constexpr uint32_t kDepthMax = 1024;
constexpr uint32_t kPreadThreadsMax = 64;
constexpr uint32_t kStuckMax = 1024;
constexpr uint32_t kRetriesMax = 64;

absl::Status Invalid(const ReadRequest& request, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("read ", request.file->path(), " at ",
                                                 request.offset, " length ", request.length, ": ",
                                                 what));
}

absl::Status ValidateDirect(const ReadRequest& request) {
  const uint64_t alignment = request.file->direct_alignment();
  if (alignment == 0) return Invalid(request, "the file allows no direct reads");
  if (!IsAligned(request.offset, alignment)) {
    return Invalid(request, absl::StrCat("offset is no multiple of ", alignment));
  }
  if (!IsAligned(reinterpret_cast<uintptr_t>(request.buffer.data()), alignment)) {
    return Invalid(request, absl::StrCat("buffer is not aligned to ", alignment));
  }
  if (request.buffer.size() < AlignUp(request.length, alignment)) {
    return Invalid(request,
                   absl::StrCat("buffer of ", request.buffer.size(),
                                " bytes is shorter than the length rounded up to ", alignment));
  }
  return absl::OkStatus();
}

absl::Status ValidateSlot(const ReadRequest& request,
                          absl::Span<const absl::Span<std::byte>> slots) {
  if (request.slot < 0) return absl::OkStatus();
  const auto index = static_cast<size_t>(request.slot);
  if (index >= slots.size()) {
    return Invalid(request, absl::StrCat("slot ", index, " of ", slots.size()));
  }
  const auto begin = reinterpret_cast<uintptr_t>(request.buffer.data());
  const auto slot_begin = reinterpret_cast<uintptr_t>(slots[index].data());
  const uint64_t slot_bytes = slots[index].size();
  if (begin < slot_begin || begin - slot_begin > slot_bytes ||
      request.buffer.size() > slot_bytes - (begin - slot_begin)) {
    return Invalid(request, absl::StrCat("buffer lies outside slot ", index));
  }
  return absl::OkStatus();
}

absl::Status InRange(absl::string_view name, uint64_t value, uint64_t min, uint64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("read queue: ", name, " is ", value, ", allowed is ", min, " to ", max));
}

}  // namespace

absl::string_view ReadEngineName(ReadEngine engine) {
  switch (engine) {
    case ReadEngine::kAuto:
      return "auto";
    case ReadEngine::kUring:
      return "io_uring";
    case ReadEngine::kPread:
      return "pread";
  }
  return "unknown";
}

absl::Status ReadQueueOptions::Validate() const {
  RETURN_IF_ERROR(InRange("depth", depth, 1, kDepthMax));
  RETURN_IF_ERROR(InRange("pread_threads", pread_threads, 1, kPreadThreadsMax));
  RETURN_IF_ERROR(InRange("poll_batch", poll_batch, 1, kDepthMax));
  RETURN_IF_ERROR(InRange("stuck_max", stuck_max, 1, kStuckMax));
  RETURN_IF_ERROR(InRange("retries_max", retries_max, 0, kRetriesMax));
  RETURN_IF_ERROR(InRange("number of slots", slots.size(), 0, kSlotsMax));
  if (stall_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("read queue: stall_timeout is ",
                                                   absl::FormatDuration(stall_timeout),
                                                   ", must be more than 0"));
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].empty()) {
      return absl::InvalidArgumentError(absl::StrCat("read queue: slot ", i, " is empty"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateReadRequest(const ReadRequest& request,
                                 absl::Span<const absl::Span<std::byte>> slots) {
  if (request.file == nullptr) return absl::InvalidArgumentError("read without a file");
  if (request.length == 0) return Invalid(request, "nothing to read");
  const uint64_t size_bytes = request.file->identity().size_bytes;
  if (request.offset > size_bytes || request.length > size_bytes - request.offset) {
    return Invalid(request, absl::StrCat("passes the file's end at ", size_bytes));
  }
  if (request.buffer.size() < request.length) {
    return Invalid(request, absl::StrCat("buffer has ", request.buffer.size(), " bytes"));
  }
  if (request.mode == ReadMode::kDirect) {
    RETURN_IF_ERROR(ValidateDirect(request));
  }
  return ValidateSlot(request, slots);
}

ReadEngine EngineFor(ReadEngine engine, const File& file) {
  return MayHang(file.file_system()) ? ReadEngine::kPread : engine;
}

uint16_t IoPriorityValue(IoPriority priority) {
  switch (priority) {
    case IoPriority::kNormal:
      return 0;
    case IoPriority::kLow:
      return (kIoBestEffort << kIoClassShift) | kIoLastLevel;
    case IoPriority::kIdle:
      return kIoIdle << kIoClassShift;
  }
  return 0;
}

absl::Status QueueFullError(uint32_t depth) {
  return absl::ResourceExhaustedError(
      absl::StrCat("read queue: ", depth, " reads in flight, no more fit"));
}

ReadDone StuckRead(const ReadRequest& request, uint64_t offset, absl::Duration stall_timeout) {
  return {.tag = request.tag,
          .status = ErrorWithReason(
              absl::StatusCode::kDeadlineExceeded, Reason::kVolumeStuck,
              absl::StrCat("read ", request.file->path(), " at ", offset, ": no answer within ",
                           absl::FormatDuration(stall_timeout))),
          .stuck = true};
}

absl::Status CheckNotTooManyStuck(const ReadRequest& request, uint32_t stuck,
                                  const ReadQueueOptions& options) {
  if (stuck < options.stuck_max) return absl::OkStatus();
  return ErrorWithReason(
      absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
      absl::StrCat("read ", request.file->path(), " at ", request.offset, ": ", stuck,
                   " reads of this volume do not come back, and no more are begun until they do; "
                   "look at the mount"));
}

void CountDone(const ReadDone& read, uint32_t& in_flight, uint32_t& stuck) {
  if (read.returned) {
    --stuck;
    return;
  }
  --in_flight;
  if (read.stuck) ++stuck;
}

}  // namespace weightd
