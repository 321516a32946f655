#include "common/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace weightd {
namespace {

// The first closed one for which nothing could be opened, with errno; -1: all are open.
int OpenClosed() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number is this one.
    if (::open("/dev/null", O_RDONLY) == fd) continue;
    if (::open("/", O_RDONLY | O_DIRECTORY) != fd) return fd;
  }
  return -1;
}

// Before the constructors of other objects of the program, of which one opens a descriptor (gRPC's
// does). What fails here fails again below, and is told.
__attribute__((constructor(101))) void OpenBeforeConstructors() { (void)OpenClosed(); }

}  // namespace

absl::Status OpenClosedStandardStreams() {
  const int fd = OpenClosed();
  if (fd < 0) return absl::OkStatus();
  return PosixError(errno, absl::StrCat("descriptor ", fd, " is closed; open /dev/null for it"));
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
