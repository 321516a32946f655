#ifndef WEIGHTD_TESTS_SUPPORT_STORAGE_FUSE_VOLUME_H_
#define WEIGHTD_TESTS_SUPPORT_STORAGE_FUSE_VOLUME_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/unique_fd.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {

// A mounted directory of a few files, served over /dev/fuse by a thread of this process, whose
// server can fall silent in the middle of a call, as that of a dead network volume does: who is in
// such a call cannot be killed. Needs root and /dev/fuse. Thread-safe.
class FuseVolume {
 public:
  // UNAVAILABLE with the reason where there is no FUSE for us.
  static absl::StatusOr<std::unique_ptr<FuseVolume>> Mount(
      std::map<std::string, std::string> files);
  FuseVolume(const FuseVolume&) = delete;
  FuseVolume& operator=(const FuseVolume&) = delete;
  // Unmounts: whoever waits gets an error.
  ~FuseVolume();

  std::string root() const { return folder_.path(); }
  // From here on no look at a name, attributes or a directory is answered, no write either, and
  // none of those is forgotten: Answer() answers them with an error, and all that follow rightly.
  void HangLookups() { hang_lookups_ = true; }
  // Likewise, of reads from `offset` on.
  void HangReads(uint64_t offset) { hang_reads_from_ = offset; }
  // Requests that hung so far.
  uint32_t held() const { return held_count_; }
  void Answer();
  // Likewise, of closing a file.
  void HangCloses() { hang_closes_ = true; }
  // From the next open of a file on, all attributes are refused with this error.
  void FailOnceOpened(int error) { error_once_opened_ = error; }
  // Directories have no end: what is in them comes again and again.
  void ListForEver() { lists_for_ever_ = true; }
  // Directories are listed with this error from now on; 0 for none.
  void FailLists(int error) { list_error_ = error; }

 private:
  struct Request;

  explicit FuseVolume(std::map<std::string, std::string> files)
      : files_(files.begin(), files.end()) {}
  absl::Status MountHere();
  void Serve();
  void Handle(const Request& request);
  void List(const Request& request) const;
  void Read(const Request& request) const;
  bool Hangs(const Request& request) const;
  void Reply(uint64_t unique, int error, const void* body, size_t bytes) const;

  const std::vector<std::pair<std::string, std::string>> files_;  // of node 2 and so on
  const TempDir folder_;
  UniqueFd fuse_;
  UniqueFd wake_;
  std::atomic<bool> stops_ = false;
  std::atomic<bool> hang_lookups_ = false;
  std::atomic<uint64_t> hang_reads_from_ = UINT64_MAX;
  std::atomic<bool> hang_closes_ = false;
  std::atomic<int> list_error_ = 0;
  std::atomic<int> error_once_opened_ = 0;
  std::atomic<bool> was_opened_ = false;
  std::atomic<bool> lists_for_ever_ = false;
  std::vector<uint64_t> held_;  // of thread_ only
  std::atomic<uint32_t> held_count_ = 0;
  std::thread thread_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_STORAGE_FUSE_VOLUME_H_
