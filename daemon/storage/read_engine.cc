#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/unique_fd.h"
#include "daemon/storage/pread_read_queue.h"
#include "daemon/storage/read_queue.h"
#include "daemon/storage/split_read_queue.h"
#include "daemon/storage/uring_read_queue.h"

namespace weightd {
namespace {

constexpr size_t kProbeBytes = 4096;
constexpr absl::Duration kProbeTimeout = absl::Seconds(10);

// A file in memory that exists for the probe only.
class ProbeFile final : public File {
 public:
  static absl::StatusOr<ProbeFile> Create() {
    UniqueFd fd(memfd_create("weightd-probe", MFD_CLOEXEC));
    if (!fd.valid()) return PosixError(errno, "memfd_create");
    const std::string bytes(kProbeBytes, 'w');
    if (pwrite(fd.get(), bytes.data(), bytes.size(), 0) != ssize_t{kProbeBytes}) {
      return PosixError(errno, "write a memfd");
    }
    return ProbeFile(std::move(fd));
  }

  const std::string& path() const override { return path_; }
  const FileIdentity& identity() const override { return identity_; }
  uint32_t direct_alignment() const override { return 0; }
  int descriptor(ReadMode /*mode*/) const override { return fd_.get(); }
  absl::Status ReadAt(uint64_t /*offset*/, absl::Span<std::byte> /*buffer*/) const override {
    return absl::UnimplementedError("the probe's file is read by the queue only");
  }
  FileSystemKind file_system() const override { return FileSystemKind::kLocal; }
  CacheLook LookInCache(uint64_t /*offset*/, uint64_t /*length*/) const override { return {}; }
  absl::Status CheckUnchanged() const override { return absl::OkStatus(); }

 private:
  explicit ProbeFile(UniqueFd fd) : fd_(std::move(fd)) { identity_.size_bytes = kProbeBytes; }

  UniqueFd fd_;
  std::string path_ = "memfd";
  FileIdentity identity_;
};

// OK when a ring can be set up and reads.
absl::Status TryUring() {
  ASSIGN_OR_RETURN(const ProbeFile file, ProbeFile::Create());
  alignas(kProbeBytes) std::array<std::byte, kProbeBytes> buffer = {};
  ReadQueueOptions options;
  options.engine = ReadEngine::kUring;
  options.depth = 1;
  options.stall_timeout = kProbeTimeout;
  options.slots = {absl::MakeSpan(buffer)};
  ASSIGN_OR_RETURN(const auto queue, UringReadQueue::Create(options));
  RETURN_IF_ERROR(queue->Submit({.file = &file,
                                 .length = kProbeBytes,
                                 .buffer = absl::MakeSpan(buffer),
                                 .mode = ReadMode::kBuffered,
                                 .slot = 0}));
  absl::Status status = absl::UnavailableError("io_uring: the read of a memfd did not come back");
  RETURN_IF_ERROR(
      queue->Poll(absl::InfiniteDuration(), [&](const ReadDone& done) { status = done.status; }));
  if (status.ok() && (buffer.front() != std::byte{'w'} || buffer.back() != std::byte{'w'})) {
    return absl::InternalError("io_uring: the read of a memfd gave other bytes");
  }
  return status;
}

// Copies out of the page cache keep a processor busy each; more threads would only take turns.
absl::StatusOr<std::unique_ptr<ReadQueue>> CreateSplit(const ReadQueueOptions& options) {
  ASSIGN_OR_RETURN(auto direct, UringReadQueue::Create(options));
  ReadQueueOptions buffered_options = options;
  buffered_options.pread_threads =
      std::clamp(std::thread::hardware_concurrency(), 1U, options.pread_threads);
  ASSIGN_OR_RETURN(auto buffered, PreadReadQueue::Create(buffered_options));
  return std::make_unique<SplitReadQueue>(
      std::move(direct), std::move(buffered), [options] { return PreadReadQueue::Create(options); },
      options.depth);
}

}  // namespace

EngineProbe ProbeReadEngine() {
  const absl::Status status = TryUring();
  if (status.ok()) return {.engine = ReadEngine::kUring, .reason = ""};
  return {.engine = ReadEngine::kPread, .reason = std::string(status.message())};
}

absl::StatusOr<std::unique_ptr<ReadQueue>> CreateReadQueue(const ReadQueueOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  if (options.engine == ReadEngine::kPread) return PreadReadQueue::Create(options);
  absl::Status refusal = TryUring();
  if (refusal.ok()) {
    auto queue = CreateSplit(options);
    if (queue.ok()) return queue;
    refusal = queue.status();
  }
  if (options.engine == ReadEngine::kUring) return refusal;
  return PreadReadQueue::Create(
      options, SystemPread(),
      {{.reason = WarningReason::kNoIoUring,
        .text = absl::StrCat("pread instead of io_uring: ", refusal.message())}});
}

}  // namespace weightd
