#ifndef WEIGHTD_TESTS_CONTRACT_DEVICE_PEER_PROCESS_H_
#define WEIGHTD_TESTS_CONTRACT_DEVICE_PEER_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/unique_fd.h"

namespace weightd::testing {

// weightd_device_peer (device_peer_main.cc), started as a process of its own. Killed and reaped on
// destruction. Its environment is ours, changed by `environment` ("NAME=value").
class PeerProcess {
 public:
  // `fd`, if not -1, is descriptor 3 there.
  explicit PeerProcess(const std::vector<std::string>& arguments,
                       const std::vector<std::string>& environment = {}, int fd = -1);
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;
  ~PeerProcess();

  // The next line that it prints; empty at the end.
  std::string ReadLine();
  // Everything that it still prints, after closing its input; then reaps it.
  std::string Finish();
  // Kills it as the OOM killer would, and reaps it.
  void Kill();
  // As waitpid() gives it, after Finish() or Kill().
  int wait_status() const { return wait_status_; }

 private:
  void Reap();
  pid_t pid_ = -1;
  int wait_status_ = -1;
  UniqueFd input_;
  UniqueFd output_;
};

// The value of the line "name=value" in what a peer printed; "(none)" without one.
std::string ValueOf(absl::string_view output, absl::string_view name);

// FNV-1a, the checksum that the peer prints.
uint64_t Checksum(const void* memory, size_t bytes);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_DEVICE_PEER_PROCESS_H_
