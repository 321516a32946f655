#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_NOTIFY_SOCKET_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_NOTIFY_SOCKET_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {

// The service manager's end of sd_notify(3): takes the datagrams of a service. Thread-compatible.
class NotifySocket {
 public:
  // `path` may begin with '@': a name in the abstract namespace. Throws std::runtime_error.
  explicit NotifySocket(const std::string& path);

  const std::string& path() const { return path_; }
  // The next message; none when the time is over.
  std::optional<std::string> Next(absl::Duration timeout = kPatience) const;
  // The next one that contains `text`; those before it are dropped.
  std::optional<std::string> NextWith(absl::string_view text,
                                      absl::Duration timeout = kPatience) const;

 private:
  const std::string path_;
  UniqueFd socket_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_NOTIFY_SOCKET_H_
