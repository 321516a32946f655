#include "tests/support/storage/faulty_disk.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {
namespace {

constexpr uint64_t kFileNode = 2;
constexpr absl::string_view kFileName = "file";
constexpr uint32_t kWriteBytesMax = 64 << 10;
constexpr size_t kRequestBytesMax = kWriteBytesMax + (64 << 10);
constexpr uint16_t kPagesMax = 256;
// Handles of an open file: what the kernel shows with every read of it.
constexpr uint64_t kDirectHandle = 1;
constexpr uint64_t kBufferedHandle = 2;

fuse_attr Attributes(uint64_t node, uint64_t file_bytes) {
  fuse_attr attributes{};
  attributes.ino = node;
  attributes.mode = node == kFileNode ? S_IFREG | 0444 : S_IFDIR | 0555;
  attributes.size = node == kFileNode ? file_bytes : 0;
  attributes.nlink = 1;
  attributes.blksize = 4096;
  return attributes;
}

}  // namespace

struct FaultyDisk::Request {
  fuse_in_header header{};
  absl::string_view body;

  // The body as one of the kernel's structures, which may be longer than ours.
  template <typename T>
  T As() const {
    T value{};
    std::memcpy(&value, body.data(), std::min(sizeof(value), body.size()));
    return value;
  }
};

absl::StatusOr<std::unique_ptr<FaultyDisk>> FaultyDisk::Create(std::string content, Reads reads,
                                                               std::string mount_point) {
  std::unique_ptr<FaultyDisk> disk(
      new FaultyDisk(std::move(content), std::move(reads), std::move(mount_point)));
  if (absl::Status status = disk->Mount(); !status.ok()) {
    return absl::UnavailableError(absl::StrCat("no FUSE here: ", status.message()));
  }
  return disk;
}

absl::Status FaultyDisk::Mount() {
  fuse_.reset(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fuse_.valid()) return PosixError(errno, "open /dev/fuse");
  stop_.reset(::eventfd(0, EFD_CLOEXEC));
  release_.reset(::eventfd(0, EFD_CLOEXEC));
  const TempDir temporary;
  const std::string& folder = mount_point_.empty() ? temporary.path() : mount_point_;
  const std::string options =
      absl::StrCat("fd=", fuse_.get(), ",rootmode=40000,user_id=0,group_id=0");
  if (::mount("weightd-test", folder.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
    return PosixError(errno, "mount");
  }
  // Gone from the tree at once, the file system lives as long as its open files.
  const absl::Cleanup detach = [&] {
    if (mount_point_.empty()) ::umount2(folder.c_str(), MNT_DETACH);
  };
  thread_ = std::thread([this] { Serve(); });
  root_.reset(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const std::string path = absl::StrCat(folder, "/", kFileName);
  direct_.reset(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  buffered_.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!direct_.valid() || !buffered_.valid()) return PosixError(errno, "open its file");
  return absl::OkStatus();
}

std::string FaultyDisk::root() const { return absl::StrCat("/proc/self/fd/", root_.get()); }

FaultyDisk::~FaultyDisk() {
  if (!mount_point_.empty()) ::umount2(mount_point_.c_str(), MNT_DETACH);
  root_.reset();
  direct_.reset();
  buffered_.reset();
  const uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof(one));
  if (thread_.joinable()) thread_.join();
}

void FaultyDisk::Serve() {
  std::string buffer(kRequestBytesMax, '\0');
  while (true) {
    std::array<pollfd, 3> sources = {pollfd{stop_.get(), POLLIN, 0},
                                     pollfd{released_ ? -1 : release_.get(), POLLIN, 0},
                                     pollfd{silent_ ? -1 : fuse_.get(), POLLIN, 0}};
    if (::poll(sources.data(), sources.size(), -1) < 0 && errno != EINTR) return;
    if (sources[0].revents != 0) return;
    if (sources[1].revents != 0) {
      silent_ = false;
      released_ = true;
      AnswerHeld();
    }
    if (sources[2].revents == 0) continue;
    const ssize_t bytes = ::read(fuse_.get(), buffer.data(), buffer.size());
    if (bytes < 0 && errno == ENODEV) return;  // unmounted
    if (bytes < static_cast<ssize_t>(sizeof(fuse_in_header))) continue;
    Request request;
    std::memcpy(&request.header, buffer.data(), sizeof(request.header));
    request.body = absl::string_view(buffer).substr(
        sizeof(request.header), static_cast<size_t>(bytes) - sizeof(request.header));
    Handle(request);
  }
}

void FaultyDisk::Handle(const Request& request) {
  const uint64_t unique = request.header.unique;
  switch (request.header.opcode) {
    case FUSE_INIT: {
      const auto in = request.As<fuse_init_in>();
      fuse_init_out out{};
      out.major = FUSE_KERNEL_VERSION;
      out.minor = std::min<uint32_t>(in.minor, FUSE_KERNEL_MINOR_VERSION);
      out.flags = in.flags & (FUSE_ASYNC_READ | FUSE_MAX_PAGES);
      out.max_write = kWriteBytesMax;
      out.max_pages = kPagesMax;
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_LOOKUP: {
      if (absl::string_view(request.body.data()) != kFileName) {
        return Reply(unique, ENOENT, nullptr, 0);
      }
      fuse_entry_out out{};
      out.nodeid = kFileNode;
      out.attr = Attributes(kFileNode, content_.size());
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_GETATTR: {
      fuse_attr_out out{};
      out.attr = Attributes(request.header.nodeid, content_.size());
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_OPEN: {
      fuse_open_out out{};
      const bool direct = (request.As<fuse_open_in>().flags & O_DIRECT) != 0;
      out.fh = direct ? kDirectHandle : kBufferedHandle;
      out.open_flags = FOPEN_DIRECT_IO;
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_STATFS: {
      fuse_statfs_out out{};
      out.st.bsize = 4096;
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_READ:
      return HandleRead(request);
    case FUSE_OPENDIR: {
      const fuse_open_out out{};
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_READDIR:  // as if it were empty
    case FUSE_RELEASEDIR:
    case FUSE_RELEASE:
      return Reply(unique, 0, nullptr, 0);
    case FUSE_INTERRUPT:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
      return;  // wants no answer
    default:
      return Reply(unique, ENOSYS, nullptr, 0);
  }
}

void FaultyDisk::HandleRead(const Request& request) {
  const auto in = request.As<fuse_read_in>();
  Read read;
  read.offset = in.offset;
  read.bytes = in.size;
  read.direct = in.fh == kDirectHandle;
  {
    absl::MutexLock lock(&mu_);
    read.number = reads_.size() + 1;
    reads_.push_back(read);
  }
  const Answer answer = answer_(read);
  if (answer.hold && !released_) {
    absl::MutexLock lock(&mu_);
    held_.emplace_back(request.header.unique, read);
    return;
  }
  silent_ = answer.silence_after && !released_;
  if (answer.error != 0) return Reply(request.header.unique, answer.error, nullptr, 0);
  ReplyData(request.header.unique, read, answer.bytes_max);
}

void FaultyDisk::Release() {
  const uint64_t one = 1;
  (void)!::write(release_.get(), &one, sizeof(one));
}

void FaultyDisk::AnswerHeld() {
  std::vector<std::pair<uint64_t, Read>> held;
  {
    absl::MutexLock lock(&mu_);
    held.swap(held_);
  }
  for (const auto& [unique, read] : held) ReplyData(unique, read, read.bytes);
}

size_t FaultyDisk::held() const {
  absl::MutexLock lock(&mu_);
  return held_.size();
}

std::vector<FaultyDisk::Read> FaultyDisk::reads() const {
  absl::MutexLock lock(&mu_);
  return reads_;
}

void FaultyDisk::ReplyData(uint64_t unique, const Read& read, uint32_t bytes_max) const {
  const uint64_t begin = std::min<uint64_t>(read.offset, content_.size());
  const uint64_t bytes = std::min<uint64_t>({read.bytes, bytes_max, content_.size() - begin});
  Reply(unique, 0, content_.data() + begin, bytes);
}

void FaultyDisk::Reply(uint64_t unique, int error, const void* body, size_t bytes) const {
  fuse_out_header header{};
  header.unique = unique;
  header.error = -error;
  header.len = static_cast<uint32_t>(sizeof(header) + bytes);
  const std::array<iovec, 2> parts = {iovec{&header, sizeof(header)},
                                      iovec{const_cast<void*>(body), bytes}};
  // Refused when the kernel has given the request up meanwhile.
  (void)!::writev(fuse_.get(), parts.data(), bytes > 0 ? 2 : 1);
}

}  // namespace weightd::testing
