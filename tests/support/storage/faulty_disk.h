#ifndef WEIGHTD_TESTS_SUPPORT_STORAGE_FAULTY_DISK_H_
#define WEIGHTD_TESTS_SUPPORT_STORAGE_FAULTY_DISK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/unique_fd.h"

namespace weightd::testing {

// A file system of one file whose reads are answered by a function of the test: FUSE, spoken by a
// thread of this process over /dev/fuse (include/uapi/linux/fuse.h), so that short reads, errors
// and silence come out of the kernel as they do from a disk. Its file is open twice, with O_DIRECT
// and without; both go past the page cache. Needs root and /dev/fuse. Thread-safe.
class FaultyDisk {
 public:
  // What the kernel asks for: at most 1 MiB at a time.
  struct Read {
    uint64_t number = 0;  // from 1, over both descriptors
    uint64_t offset = 0;
    uint32_t bytes = 0;
    bool direct = false;  // through the descriptor with O_DIRECT
  };
  struct Answer {
    int error = 0;             // an errno
    uint32_t bytes_max = ~0U;  // of a short read
    // After this answer nothing is heard until Release(). What the disk has not even taken from the
    // kernel can be killed; a read that it took could not, and a test that ends early would hang.
    bool silence_after = false;
    // This read alone is not answered before Release(), which answers it whole.
    bool hold = false;
  };
  using Reads = std::function<Answer(const Read&)>;

  // UNAVAILABLE with the reason where there is no FUSE for us. `reads` runs on the disk's thread.
  // Where `mount_point` is given, a directory, the disk is mounted there until it is destroyed.
  static absl::StatusOr<std::unique_ptr<FaultyDisk>> Create(std::string content, Reads reads,
                                                            std::string mount_point = "");
  FaultyDisk(const FaultyDisk&) = delete;
  FaultyDisk& operator=(const FaultyDisk&) = delete;
  // Its files must be closed, and no read may be in flight.
  ~FaultyDisk();

  UniqueFd TakeDirect() { return std::move(direct_); }
  UniqueFd TakeBuffered() { return std::move(buffered_); }
  // Its only folder, for who opens "file" there himself.
  std::string root() const;
  // Ends a silence and answers what is held, and lets nothing of that begin again.
  void Release();
  // Reads that are held.
  size_t held() const ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<Read> reads() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Request;

  FaultyDisk(std::string content, Reads answer, std::string mount_point)
      : content_(std::move(content)),
        answer_(std::move(answer)),
        mount_point_(std::move(mount_point)) {}
  absl::Status Mount();
  void Serve() ABSL_LOCKS_EXCLUDED(mu_);
  void Handle(const Request& request) ABSL_LOCKS_EXCLUDED(mu_);
  void HandleRead(const Request& request) ABSL_LOCKS_EXCLUDED(mu_);
  void AnswerHeld() ABSL_LOCKS_EXCLUDED(mu_);
  void Reply(uint64_t unique, int error, const void* body, size_t bytes) const;
  void ReplyData(uint64_t unique, const Read& read, uint32_t bytes_max) const;

  const std::string content_;
  const Reads answer_;
  const std::string mount_point_;
  UniqueFd fuse_;
  UniqueFd stop_;
  UniqueFd release_;
  UniqueFd root_;
  UniqueFd direct_;
  UniqueFd buffered_;
  std::thread thread_;
  // Of thread_ only.
  bool silent_ = false;
  bool released_ = false;

  mutable absl::Mutex mu_;
  std::vector<Read> reads_ ABSL_GUARDED_BY(mu_);
  std::vector<std::pair<uint64_t, Read>> held_ ABSL_GUARDED_BY(mu_);  // by the kernel's number
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_STORAGE_FAULTY_DISK_H_
