#include "daemon/storage/uring.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/proc_text.h"

namespace weightd {
namespace {

constexpr uint32_t kFileTableSizeMax = 64;
constexpr absl::string_view kUsePread = "(or set storage.engine = PREAD)";

struct RingFlag {
  unsigned value;
  absl::string_view name;
  absl::string_view since;
};
// In the order in which they are given up: each needs those behind it or is newer than they are.
constexpr std::array<RingFlag, 3> kRingFlags = {{
    {IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN", "6.1"},
    {IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER", "6.0"},
    {IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN", "5.19"},
}};

std::string ReadSysctl() {
  const std::string text = ReadProcFile("/proc/sys/kernel/io_uring_disabled");
  return std::string(absl::StripAsciiWhitespace(text));
}

std::string ErrorText(int error, absl::string_view what) {
  return absl::AsciiStrToLower(PosixError(error, what).message());
}

}  // namespace

absl::Status UringRefusal(int error, absl::string_view sysctl) {
  std::string cause;
  if (error == EPERM && !sysctl.empty() && sysctl != "0") {
    cause = absl::StrCat("sysctl kernel.io_uring_disabled is ", sysctl, ", set it to 0");
  } else if (error == EPERM || error == EACCES) {
    cause = "the seccomp profile likely blocks it, see deploy/seccomp/";
  } else if (error == ENOSYS) {
    cause = "the seccomp profile blocks it, see deploy/seccomp/, or the kernel lacks it";
  } else if (error == ENOMEM) {
    cause = "raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=) or the memory limit";
  } else if (error == EMFILE || error == ENFILE) {
    cause = "raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=)";
  } else {
    cause = "the kernel may be too old, 5.11 is the oldest that works";
  }
  return absl::Status(PosixError(error, "").code(), absl::StrCat(ErrorText(error, "io_uring setup"),
                                                                 "; ", cause, " ", kUsePread));
}

int Uring::Setup(uint32_t entries, io_uring* ring, Warnings* fallbacks) {
  for (size_t dropped = 0; dropped <= kRingFlags.size(); ++dropped) {
    unsigned flags = IORING_SETUP_R_DISABLED;
    for (size_t i = dropped; i < kRingFlags.size(); ++i) flags |= kRingFlags[i].value;
    const int result = io_uring_queue_init(entries, ring, flags);
    if (result != -EINVAL) return result;
    if (dropped < kRingFlags.size()) {
      fallbacks->push_back(
          {.reason = WarningReason::kIoUringFeature,
           .text = absl::StrCat("io_uring without ", kRingFlags[dropped].name, ": Linux ",
                                kRingFlags[dropped].since, " or newer has it")});
    }
  }
  return -EINVAL;
}

absl::StatusOr<Uring> Uring::Create(uint32_t depth, absl::Span<const absl::Span<std::byte>> buffers,
                                    Warnings* fallbacks) {
  Uring uring;
  const int result = Setup(2 * depth, &uring.ring_, fallbacks);
  if (result < 0) return UringRefusal(-result, ReadSysctl());
  uring.live_ = true;
  constexpr unsigned kNeeded = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
  if ((uring.ring_.features & kNeeded) != kNeeded) return UringRefusal(EINVAL, "");
  uring.RegisterBuffers(buffers, fallbacks);
  uring.RegisterFiles(std::min(depth, kFileTableSizeMax), fallbacks);
  return uring;
}

void Uring::RegisterBuffers(absl::Span<const absl::Span<std::byte>> buffers, Warnings* fallbacks) {
  if (buffers.empty()) return;
  std::vector<iovec> vectors;
  vectors.reserve(buffers.size());
  uint64_t total_bytes = 0;
  for (const auto& buffer : buffers) {
    vectors.push_back({.iov_base = buffer.data(), .iov_len = buffer.size()});
    total_bytes += buffer.size();
  }
  const int result =
      io_uring_register_buffers(&ring_, vectors.data(), static_cast<unsigned>(vectors.size()));
  has_buffers_ = result == 0;
  if (has_buffers_) return;
  fallbacks->push_back(
      {.reason = WarningReason::kIoUringBuffers,
       .text = absl::StrCat(
           ErrorText(-result, "io_uring without registered buffers"), "; ",
           result == -ENOMEM ? "raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=) to " : "they have ",
           FormatBytes(total_bytes),
           result == -ENOMEM ? " or more" : " and must be anonymous memory")});
}

void Uring::RegisterFiles(uint32_t count, Warnings* fallbacks) {
  const std::vector<int> none(count, -1);
  const int result = io_uring_register_files(&ring_, none.data(), count);
  if (result == 0) {
    file_table_size_ = count;
    return;
  }
  fallbacks->push_back(
      {.reason = WarningReason::kIoUringFiles,
       .text = absl::StrCat(
           ErrorText(-result, "io_uring without registered files"),
           result == -EMFILE ? "; raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=) to " : "; ", count,
           result == -EMFILE ? " or more" : " were asked for")});
}

Uring::Uring(Uring&& other) noexcept
    : ring_(other.ring_),
      live_(std::exchange(other.live_, false)),
      enabled_(other.enabled_),
      has_buffers_(other.has_buffers_),
      file_table_size_(other.file_table_size_) {}

Uring::~Uring() {
  if (live_) io_uring_queue_exit(&ring_);
}

absl::Status Uring::Enable() {
  if (enabled_) return absl::OkStatus();
  // liburing 2.3 declares io_uring_enable_rings() but does not export it.
  const int result = io_uring_register(static_cast<unsigned>(ring_.ring_fd),
                                       IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  if (result < 0) return UringRefusal(-result, ReadSysctl());
  enabled_ = true;
  return absl::OkStatus();
}

int UringFileTable::Register(uint32_t index, int descriptor) {
  const int result = io_uring_register_files_update(uring_.ring(), index, &descriptor, 1);
  return result < 0 ? result : 0;
}

int32_t UringFileTable::Acquire(const File& file, ReadMode mode) {
  const int descriptor = file.descriptor(mode);
  Entry* free_entry = nullptr;
  for (Entry& entry : entries_) {
    if (entry.file == &file && entry.descriptor == descriptor &&
        entry.identity == file.identity()) {
      ++entry.users_count;
      return static_cast<int32_t>(&entry - entries_.data());
    }
    if (entry.users_count == 0 && (free_entry == nullptr || entry.file == nullptr)) {
      free_entry = &entry;
    }
  }
  if (free_entry == nullptr) return -1;
  const auto index = static_cast<uint32_t>(free_entry - entries_.data());
  *free_entry = Entry();
  if (Register(index, descriptor) < 0) return -1;
  *free_entry = {
      .file = &file, .descriptor = descriptor, .identity = file.identity(), .users_count = 1};
  idle_entries_ = true;
  return static_cast<int32_t>(index);
}

void UringFileTable::Release(int32_t index) {
  if (index < 0) return;
  Entry& entry = entries_[static_cast<size_t>(index)];
  assert(entry.users_count > 0);
  --entry.users_count;
}

void UringFileTable::ReleaseIdle() {
  if (!idle_entries_) return;
  idle_entries_ = false;
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].file == nullptr) continue;
    if (entries_[i].users_count > 0) {
      idle_entries_ = true;
      continue;
    }
    // Should it fail, the kernel keeps the file until the ring ends: no harm but disk space.
    (void)Register(i, -1);
    entries_[i] = Entry();
  }
}

}  // namespace weightd
