#include "tests/support/storage/fuse_volume.h"

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
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd::testing {
namespace {

constexpr uint32_t kStatx = 52;  // FUSE_STATX, which Debian 12's headers do not know
constexpr uint64_t kRootNode = 1;
constexpr uint64_t kFirstFile = 2;
constexpr size_t kRequestBytesMax = 256 << 10;

}  // namespace

struct FuseVolume::Request {
  fuse_in_header header{};
  absl::string_view body;

  template <typename T>
  T As() const {
    T value{};
    std::memcpy(&value, body.data(), std::min(sizeof(value), body.size()));
    return value;
  }
};

absl::StatusOr<std::unique_ptr<FuseVolume>> FuseVolume::Mount(
    std::map<std::string, std::string> files) {
  std::unique_ptr<FuseVolume> volume(new FuseVolume(std::move(files)));
  if (absl::Status status = volume->MountHere(); !status.ok()) {
    return absl::UnavailableError(absl::StrCat("no FUSE here: ", status.message()));
  }
  return volume;
}

absl::Status FuseVolume::MountHere() {
  fuse_.reset(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fuse_.valid()) return PosixError(errno, "open /dev/fuse");
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const std::string options =
      absl::StrCat("fd=", fuse_.get(), ",rootmode=40000,user_id=0,group_id=0,allow_other");
  if (::mount("weightd-test", folder_.path().c_str(), "fuse", MS_NOSUID | MS_NODEV,
              options.c_str()) != 0) {
    return PosixError(errno, "mount");
  }
  thread_ = std::thread([this] { Serve(); });
  return absl::OkStatus();
}

FuseVolume::~FuseVolume() {
  if (!thread_.joinable()) return;
  ::umount2(folder_.path().c_str(), MNT_FORCE | MNT_DETACH);
  stops_ = true;
  Answer();
  thread_.join();
}

void FuseVolume::Answer() {
  hang_lookups_ = false;
  hang_reads_from_ = UINT64_MAX;
  hang_closes_ = false;
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof(one));
}

void FuseVolume::Serve() {
  std::string buffer(kRequestBytesMax, '\0');
  while (true) {
    std::array<pollfd, 2> sources = {pollfd{wake_.get(), POLLIN, 0},
                                     pollfd{fuse_.get(), POLLIN, 0}};
    if (::poll(sources.data(), sources.size(), -1) < 0 && errno != EINTR) return;
    if (sources[0].revents != 0) {
      uint64_t count = 0;
      (void)!::read(wake_.get(), &count, sizeof(count));
      for (const uint64_t unique : held_) Reply(unique, EIO, nullptr, 0);
      held_.clear();
      if (stops_) return;
    }
    if ((sources[1].revents & (POLLERR | POLLHUP)) != 0) return;  // unmounted
    if (sources[1].revents == 0) continue;
    const ssize_t bytes = ::read(fuse_.get(), buffer.data(), buffer.size());
    if (bytes < 0 && errno == ENODEV) return;
    if (bytes < static_cast<ssize_t>(sizeof(fuse_in_header))) continue;
    Request request;
    std::memcpy(&request.header, buffer.data(), sizeof(request.header));
    request.body = absl::string_view(buffer).substr(
        sizeof(request.header), static_cast<size_t>(bytes) - sizeof(request.header));
    if (Hangs(request)) {
      held_.push_back(request.header.unique);
      ++held_count_;
    } else {
      Handle(request);
    }
  }
}

bool FuseVolume::Hangs(const Request& request) const {
  switch (request.header.opcode) {
    case FUSE_LOOKUP:
    case FUSE_GETATTR:
    case FUSE_OPEN:
    case FUSE_OPENDIR:
    case FUSE_READDIR:
    case FUSE_WRITE:
    case kStatx:
      return hang_lookups_;
    case FUSE_READ:
      return request.As<fuse_read_in>().offset >= hang_reads_from_;
    case FUSE_FLUSH:
      return hang_closes_;
    default:
      return false;
  }
}

void FuseVolume::Handle(const Request& request) {
  const uint64_t unique = request.header.unique;
  const auto attributes_of = [&](uint64_t node) {
    fuse_attr attributes{};
    attributes.ino = node;
    attributes.nlink = 1;
    attributes.blksize = 4096;
    attributes.mode = node == kRootNode ? S_IFDIR | 0755 : S_IFREG | 0644;
    if (node >= kFirstFile) attributes.size = files_[node - kFirstFile].second.size();
    return attributes;
  };
  switch (request.header.opcode) {
    case FUSE_INIT: {
      fuse_init_out out{};
      out.major = FUSE_KERNEL_VERSION;
      out.minor = std::min<uint32_t>(request.As<fuse_init_in>().minor, FUSE_KERNEL_MINOR_VERSION);
      out.max_write = 4096;
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_LOOKUP: {
      const std::string name = request.body.data();
      const auto found = std::find_if(files_.begin(), files_.end(),
                                      [&](const auto& file) { return file.first == name; });
      if (found == files_.end()) return Reply(unique, ENOENT, nullptr, 0);
      fuse_entry_out out{};
      out.nodeid = kFirstFile + static_cast<uint64_t>(found - files_.begin());
      out.attr = attributes_of(out.nodeid);
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_GETATTR: {
      if (was_opened_) return Reply(unique, error_once_opened_, nullptr, 0);
      fuse_attr_out out{};
      out.attr = attributes_of(request.header.nodeid);
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
      fuse_open_out out{};
      was_opened_ = request.header.opcode == FUSE_OPEN && error_once_opened_ != 0;
      if (request.header.opcode == FUSE_OPEN) out.open_flags = FOPEN_DIRECT_IO;
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_READDIR:
      return List(request);
    case FUSE_READ:
      return Read(request);
    case FUSE_STATFS: {
      fuse_statfs_out out{};
      out.st.bsize = 4096;
      return Reply(unique, 0, &out, sizeof(out));
    }
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
      return Reply(unique, 0, nullptr, 0);
    case FUSE_INTERRUPT:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
      return;  // wants no answer
    default:
      return Reply(unique, ENOSYS, nullptr, 0);
  }
}

void FuseVolume::List(const Request& request) const {
  if (const int error = list_error_) return Reply(request.header.unique, error, nullptr, 0);
  std::string out;
  const auto in = request.As<fuse_read_in>();
  for (uint64_t i = in.offset; lists_for_ever_ || i < files_.size(); ++i) {
    const std::string& name = files_[i % files_.size()].first;
    fuse_dirent entry{};
    entry.ino = kFirstFile + i;
    entry.off = i + 1;
    entry.namelen = static_cast<uint32_t>(name.size());
    entry.type = S_IFREG >> 12;
    if (out.size() + FUSE_DIRENT_ALIGN(offsetof(fuse_dirent, name) + name.size()) > in.size) break;
    out.append(reinterpret_cast<const char*>(&entry), offsetof(fuse_dirent, name));
    out += name;
    out.resize(FUSE_DIRENT_ALIGN(out.size()), '\0');
  }
  Reply(request.header.unique, 0, out.data(), out.size());
}

void FuseVolume::Read(const Request& request) const {
  const auto in = request.As<fuse_read_in>();
  const std::string& content = files_[request.header.nodeid - kFirstFile].second;
  const uint64_t begin = std::min<uint64_t>(in.offset, content.size());
  Reply(request.header.unique, 0, content.data() + begin,
        std::min<uint64_t>(in.size, content.size() - begin));
}

void FuseVolume::Reply(uint64_t unique, int error, const void* body, size_t bytes) const {
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
