#ifndef WEIGHTD_COMMON_DIRECTORY_READER_H_
#define WEIGHTD_COMMON_DIRECTORY_READER_H_

#include <dirent.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/volume_call.h"

namespace weightd {

// As readdir(3), by calls that the volume may keep waiting. Thread-compatible.
class DirectoryReader {
 public:
  explicit DirectoryReader(int fd) : fd_(fd), buffer_(kBytes / sizeof(uint64_t)) {}

  // Null at the end or after an error; lives until the next call.
  const dirent64* Next() {
    if (at_ == filled_ && !Fill()) return nullptr;
    const auto* bytes = reinterpret_cast<const char*>(buffer_.data());
    const auto* entry = reinterpret_cast<const dirent64*>(bytes + at_);
    at_ += entry->d_reclen;
    return entry;
  }
  int error() const { return error_; }

 private:
  static constexpr size_t kBytes = 32 * 1024;  // of a call

  bool Fill() {
    const long count = VolumeCall(SYS_getdents64, fd_, reinterpret_cast<long>(buffer_.data()),
                                  static_cast<long>(kBytes));
    if (count < 0) error_ = errno;
    at_ = 0;
    filled_ = count > 0 ? static_cast<size_t>(count) : 0;
    return count > 0;
  }

  const int fd_;
  std::vector<uint64_t> buffer_;  // entries are aligned to 8
  size_t at_ = 0;
  size_t filled_ = 0;
  int error_ = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_COMMON_DIRECTORY_READER_H_
