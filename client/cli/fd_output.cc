#include "client/cli/fd_output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>

#include "common/steady_time.h"

namespace weightd::cli {
namespace {

constexpr size_t kBufferBytes = size_t{64} << 10;
constexpr std::streamsize kWriteBytesMax = std::streamsize{16} << 20;

}  // namespace

FdOutput::FdOutput(int fd, absl::Duration patience)
    : fd_(fd), patience_(patience), buffer_(kBufferBytes) {
  setp(buffer_.data(), buffer_.data() + buffer_.size());
}

bool FdOutput::AwaitRoom() {
  const bool has_end = patience_ != absl::InfiniteDuration();
  const absl::Time deadline = SteadyNow() + (reader_is_away_ ? absl::ZeroDuration() : patience_);
  int ready = 0;
  do {
    const int64_t left =
        has_end ? std::max<int64_t>(0, absl::ToInt64Milliseconds(deadline - SteadyNow())) : -1;
    pollfd entry = {.fd = fd_, .events = POLLOUT, .revents = 0};
    ready = ::poll(&entry, 1, static_cast<int>(left));
  } while (ready < 0 && errno == EINTR);
  reader_is_away_ = ready == 0;
  return !reader_is_away_;
}

bool FdOutput::Write(const char* data, std::streamsize bytes) {
  const bool may_drop = patience_ != absl::InfiniteDuration();
  while (bytes > 0 && error_ == 0) {
    if (may_drop && !AwaitRoom()) return true;
    // Where poll() sees room in a pipe, so many go without blocking.
    const std::streamsize part = std::min(bytes, may_drop ? PIPE_BUF : kWriteBytesMax);
    const ssize_t written = ::write(fd_, data, static_cast<size_t>(part));
    if (written >= 0) {
      data += written;
      bytes -= written;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      // Somebody who shares the descriptor may have made it non-blocking.
      if (!AwaitRoom()) return true;
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  return error_ == 0;
}

bool FdOutput::WriteBuffered() {
  const bool written = Write(pbase(), pptr() - pbase());
  setp(buffer_.data(), buffer_.data() + buffer_.size());
  return written;
}

FdOutput::int_type FdOutput::overflow(int_type c) {
  if (!WriteBuffered()) return traits_type::eof();
  if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
  return traits_type::not_eof(c);
}

std::streamsize FdOutput::xsputn(const char* data, std::streamsize bytes) {
  if (bytes <= epptr() - pptr()) {
    std::copy(data, data + bytes, pptr());
    pbump(static_cast<int>(bytes));
    return bytes;
  }
  return WriteBuffered() && Write(data, bytes) ? bytes : 0;
}

int FdOutput::sync() { return WriteBuffered() ? 0 : -1; }

}  // namespace weightd::cli
