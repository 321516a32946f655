#include "client/cli/fd_output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

namespace weightd::cli {
namespace {

constexpr size_t kBufferBytes = size_t{64} << 10;
constexpr std::streamsize kWriteBytesMax = std::streamsize{16} << 20;

// Somebody who shares the descriptor may have made it non-blocking.
void AwaitRoom(int fd) {
  pollfd entry = {.fd = fd, .events = POLLOUT, .revents = 0};
  (void)::poll(&entry, 1, -1);
}

}  // namespace

FdOutput::FdOutput(int fd) : fd_(fd), buffer_(kBufferBytes) {
  setp(buffer_.data(), buffer_.data() + buffer_.size());
}

bool FdOutput::Write(const char* data, std::streamsize bytes) {
  while (bytes > 0 && error_ == 0) {
    const ssize_t written =
        ::write(fd_, data, static_cast<size_t>(std::min(bytes, kWriteBytesMax)));
    if (written >= 0) {
      data += written;
      bytes -= written;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      AwaitRoom(fd_);
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
