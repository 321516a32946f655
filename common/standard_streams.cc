#include "common/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace weightd {

namespace {

// Before the constructors of other objects of the program, of which one opens a descriptor (gRPC's
// does). What fails here fails again below, and is told.
__attribute__((constructor(101))) void OpenBeforeConstructors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    if (::open("/dev/null", O_RDONLY) != fd && ::open("/", O_RDONLY | O_DIRECTORY) != fd) return;
  }
}

}  // namespace

absl::Status OpenClosedStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number is this one.
    if (::open("/dev/null", O_RDONLY) == fd) continue;
    if (::open("/", O_RDONLY | O_DIRECTORY) == fd) continue;
    return PosixError(errno, absl::StrCat("descriptor ", fd, " is closed; open /dev/null for it"));
  }
  return absl::OkStatus();
}

absl::Status StdoutError(int error) {
  const absl::Status status = PosixError(error, "write to stdout");
  const bool closed = error == EBADF;
  return absl::UnknownError(
      absl::StrCat(status.message(), closed ? ": it is closed, or open for reading alone" : ""));
}

absl::Status WriteToStdout(absl::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return absl::OkStatus();
  return StdoutError(errno == 0 ? EIO : errno);
}

}  // namespace weightd
