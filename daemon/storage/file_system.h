#ifndef WEIGHTD_DAEMON_STORAGE_FILE_SYSTEM_H_
#define WEIGHTD_DAEMON_STORAGE_FILE_SYSTEM_H_

#include <cstdint>

// What is known of a file system by its number, statfs(2)'s f_type. Thread-safe.

namespace weightd {

enum class FileSystemKind {
  kLocal,
  // Its bytes come over a network (NFS, Lustre and the like): more of them are worth asking for at
  // once.
  kNetwork,
  // FUSE, by which most object stores are mounted: a network's, and not for io_uring. On Linux 6.18
  // a ring's direct read that the server answers short is repeated inside the kernel without moving
  // on (fuse_direct_IO() leaves ki_pos, __io_read() counts on it): bytes of the wrong place arrive
  // and nobody tells. And io_uring_enter(2) itself waits for the server, for ever if that is
  // silent.
  kFuse,
  // Of a file, not of a root: what lies below is not known, and may be a FUSE server. An overlay
  // (or eCryptfs) over what is no local disk's file system, and a loop device.
  kStacked,
};

// Whether a call that the server below does not answer may last for ever, uninterrupted. Then it is
// for a helper (common/volume_call.h), and not for io_uring.
constexpr bool MayHang(FileSystemKind kind) {
  return kind == FileSystemKind::kFuse || kind == FileSystemKind::kStacked;
}
// Whether the bytes come over a network, as far as that is known.
constexpr bool IsRemote(FileSystemKind kind) {
  return kind == FileSystemKind::kFuse || kind == FileSystemKind::kNetwork;
}

// Of the open file `fd`; 0 where the kernel does not tell, which is where a FUSE server does not.
uint64_t FileSystemNumber(int fd);
FileSystemKind KindOfFileSystem(uint64_t number);

struct FileSystem {
  uint64_t number = 0;
  FileSystemKind kind = FileSystemKind::kFuse;
};
// Of the open file `fd`, which lies on `device` (st_dev).
FileSystem FileSystemOf(int fd, uint64_t device);
// Likewise, where the kernel has told the number.
FileSystemKind KindOfFile(int fd, uint64_t number, uint64_t device);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_FILE_SYSTEM_H_
