#ifndef WEIGHTD_CLIENT_CLI_FD_OUTPUT_H_
#define WEIGHTD_CLIENT_CLI_FD_OUTPUT_H_

#include <streambuf>
#include <vector>

#include "absl/time/time.h"

namespace weightd::cli {

// What a stream writes to a descriptor, which it does not own, and the error that stopped it. After
// one nothing more is written, and the stream is bad. Not thread-safe.
class FdOutput : public std::streambuf {
 public:
  // `patience` is for messages: of what a reader does not take within it the rest is dropped, and
  // all that follows until he reads again; a command must not hang because nobody reads about it.
  explicit FdOutput(int fd, absl::Duration patience = absl::InfiniteDuration());

  int fd() const { return fd_; }
  // errno of the first write that failed; 0: none has.
  int error() const { return error_; }

 protected:
  int_type overflow(int_type c) override;
  std::streamsize xsputn(const char* data, std::streamsize bytes) override;
  int sync() override;

 private:
  bool Write(const char* data, std::streamsize bytes);
  bool WriteBuffered();

  // Whether there is room for some bytes, waited for with what is left of the patience.
  bool AwaitRoom();

  const int fd_;
  const absl::Duration patience_;
  bool reader_is_away_ = false;
  int error_ = 0;
  std::vector<char> buffer_;
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_FD_OUTPUT_H_
