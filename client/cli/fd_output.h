#ifndef WEIGHTD_CLIENT_CLI_FD_OUTPUT_H_
#define WEIGHTD_CLIENT_CLI_FD_OUTPUT_H_

#include <streambuf>
#include <vector>

namespace weightd::cli {

// What a stream writes to a descriptor, which it does not own, and the error that stopped it. After
// one nothing more is written, and the stream is bad. Not thread-safe.
class FdOutput : public std::streambuf {
 public:
  explicit FdOutput(int fd);

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

  const int fd_;
  int error_ = 0;
  std::vector<char> buffer_;
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_FD_OUTPUT_H_
