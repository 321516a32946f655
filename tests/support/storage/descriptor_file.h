#ifndef WEIGHTD_TESTS_SUPPORT_STORAGE_DESCRIPTOR_FILE_H_
#define WEIGHTD_TESTS_SUPPORT_STORAGE_DESCRIPTOR_FILE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "common/unique_fd.h"
#include "daemon/storage/volume.h"

namespace weightd::testing {

// A File made of any descriptors, also of what no Volume would open: with a pipe the kernel itself
// gives short reads, EAGAIN and no answer at all, with /proc/self/mem EIO, with an epoll EINVAL.
class DescriptorFile final : public File {
 public:
  DescriptorFile(UniqueFd direct, UniqueFd buffered, uint64_t size_bytes,
                 uint32_t direct_alignment = 0, FileSystemKind file_system = FileSystemKind::kLocal)
      : direct_(std::move(direct)),
        buffered_(std::move(buffered)),
        direct_alignment_(direct_alignment),
        file_system_(file_system) {
    identity_.size_bytes = size_bytes;
  }

  const std::string& path() const override { return path_; }
  const FileIdentity& identity() const override { return identity_; }
  uint32_t direct_alignment() const override { return direct_alignment_; }
  int descriptor(ReadMode mode) const override {
    return mode == ReadMode::kDirect ? direct_.get() : buffered_.get();
  }
  absl::Status ReadAt(uint64_t /*offset*/, absl::Span<std::byte> /*buffer*/) const override {
    return absl::UnimplementedError("read it with a queue");
  }
  FileSystemKind file_system() const override { return file_system_; }
  CacheLook LookInCache(uint64_t /*offset*/, uint64_t /*length*/) const override { return {}; }
  absl::Status CheckUnchanged() const override { return absl::OkStatus(); }

 private:
  const UniqueFd direct_;
  const UniqueFd buffered_;
  const uint32_t direct_alignment_;
  const FileSystemKind file_system_;
  const std::string path_ = "file";
  FileIdentity identity_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_STORAGE_DESCRIPTOR_FILE_H_
