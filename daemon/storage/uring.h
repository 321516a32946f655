#ifndef WEIGHTD_DAEMON_STORAGE_URING_H_
#define WEIGHTD_DAEMON_STORAGE_URING_H_

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/warning.h"
#include "daemon/storage/volume.h"

// One io_uring with what is registered with it. The kernel's results stay in their own words
// (-errno) here; read_progress.h judges them.

namespace weightd {

// Why io_uring cannot be set up, with what to do about it. `sysctl` is the text of
// /proc/sys/kernel/io_uring_disabled, "" where there is none.
absl::Status UringRefusal(int error, absl::string_view sysctl);

// Thread-compatible. Set up disabled, so that the thread that first calls Enable() becomes the
// ring's owner: from then on only that thread may use it.
class Uring {
 public:
  // A ring for `depth` requests and a cancellation of each. What has to go without is added to
  // `fallbacks`.
  static absl::StatusOr<Uring> Create(uint32_t depth,
                                      absl::Span<const absl::Span<std::byte>> buffers,
                                      Warnings* fallbacks);
  Uring(Uring&& other) noexcept;
  Uring& operator=(Uring&&) = delete;
  ~Uring();

  // Binds the ring to this thread. Later calls do nothing.
  absl::Status Enable();

  io_uring* ring() { return &ring_; }
  int descriptor() const { return ring_.ring_fd; }
  bool has_buffers() const { return has_buffers_; }
  // Entries of the (empty) file table; 0 where none could be registered.
  uint32_t file_table_size() const { return file_table_size_; }

 private:
  Uring() = default;
  static int Setup(uint32_t entries, io_uring* ring, Warnings* fallbacks);
  void RegisterBuffers(absl::Span<const absl::Span<std::byte>> buffers, Warnings* fallbacks);
  void RegisterFiles(uint32_t count, Warnings* fallbacks);

  io_uring ring_ = {};
  bool live_ = false;  // false once moved from
  bool enabled_ = false;
  bool has_buffers_ = false;
  uint32_t file_table_size_ = 0;
};

// Which files are registered with a ring, and where. An entry stays while the ring is busy, since a
// job reads one file many times; ReleaseIdle() lets go of what no read uses, so that a deleted
// checkpoint's blocks go back to the volume.
class UringFileTable {
 public:
  explicit UringFileTable(Uring& uring) : uring_(uring), entries_(uring.file_table_size()) {}

  // The index of `file` opened for `mode`, registered if it is not yet, in use until Release();
  // -1 when the table is full of files in use or the kernel refuses: then use the descriptor.
  int32_t Acquire(const File& file, ReadMode mode);
  void Release(int32_t index);
  void ReleaseIdle();

 private:
  // Files come and go and so do their addresses and descriptors: only with the identity is an entry
  // surely of this file.
  struct Entry {
    const File* file = nullptr;
    int descriptor = -1;
    FileIdentity identity;
    uint32_t users_count = 0;
  };
  int Register(uint32_t index, int descriptor);

  Uring& uring_;
  std::vector<Entry> entries_;
  bool idle_entries_ = false;  // something for ReleaseIdle() to do
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_URING_H_
