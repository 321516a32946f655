#include "daemon/storage/read_speed.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "absl/time/clock.h"
#include "common/status_macros.h"
#include "daemon/storage/read_queue.h"

namespace weightd {
namespace {

constexpr uint64_t kBlockBytes = uint64_t{4} << 20;
constexpr uint32_t kDepth = 8;
constexpr uint64_t kMemoryAlignment = uint64_t{2} << 20;
constexpr absl::Duration kStallTimeout = absl::Seconds(5);

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::byte, Free>;

// Reads block after block into its buffers; each buffer is read into again once it came back.
class Measurement {
 public:
  Measurement(const File& file, const ReadSpeedLimits& limits, std::byte* memory, ReadQueue& queue)
      : file_(file),
        end_(std::min(file.identity().size_bytes, limits.bytes_max)),
        deadline_(absl::Now() + limits.time_max),
        memory_(memory),
        queue_(queue),
        mode_(file.direct_alignment() > 0 ? ReadMode::kDirect : ReadMode::kBuffered) {}

  absl::StatusOr<ReadSpeed> Run() {
    const absl::Time start = absl::Now();
    for (uint64_t slot = 0; slot < kDepth; ++slot) RETURN_IF_ERROR(SubmitNext(slot));
    while (queue_.in_flight() > 0) {
      absl::Status status;
      RETURN_IF_ERROR(queue_.Poll(kStallTimeout, [&](const ReadDone& done) {
        status.Update(done.status);
        if (done.buffered_instead) mode_ = ReadMode::kBuffered;
        if (status.ok()) status.Update(SubmitNext(done.tag));
      }));
      RETURN_IF_ERROR(status);
    }
    ReadSpeed speed;
    speed.bytes = next_;
    speed.time = absl::Now() - start;
    speed.direct = mode_ == ReadMode::kDirect;
    speed.engine = std::string(ReadEngineName(queue_.engine()));
    return speed;
  }

 private:
  absl::Status SubmitNext(uint64_t slot) {
    if (next_ >= end_ || absl::Now() >= deadline_) return absl::OkStatus();
    ReadRequest request;
    request.file = &file_;
    request.offset = next_;
    request.length = std::min(kBlockBytes, end_ - next_);
    request.buffer = absl::MakeSpan(memory_ + slot * kBlockBytes, kBlockBytes);
    request.mode = mode_;
    request.tag = slot;
    next_ += request.length;
    return queue_.Submit(request);
  }

  const File& file_;
  const uint64_t end_;
  const absl::Time deadline_;
  std::byte* const memory_;
  ReadQueue& queue_;
  ReadMode mode_;
  uint64_t next_ = 0;
};

}  // namespace

absl::StatusOr<ReadSpeed> MeasureReadSpeed(const File& file, const ReadSpeedLimits& limits) {
  const Memory memory(
      static_cast<std::byte*>(std::aligned_alloc(kMemoryAlignment, kDepth * kBlockBytes)));
  if (memory == nullptr) return absl::ResourceExhaustedError("no 32 MiB of memory to read into");
  ReadQueueOptions options;
  options.depth = kDepth;
  options.pread_threads = kDepth;
  options.stall_timeout = kStallTimeout;
  // Goes before the memory that it reads into.
  ASSIGN_OR_RETURN(const std::unique_ptr<ReadQueue> queue, CreateReadQueue(options));
  return Measurement(file, limits, memory.get(), *queue).Run();
}

}  // namespace weightd
