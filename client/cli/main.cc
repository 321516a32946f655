#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "client/cli/exit_codes.h"
#include "client/cli/weightctl.h"

int main(int argc, char** argv) {
  // A reader that left (`weightctl ls | head -1`) shows as EPIPE.
  std::signal(SIGPIPE, SIG_IGN);
  // A terminal that cannot draw over what it shows is none.
  const char* term = std::getenv("TERM");
  const bool draws = term == nullptr || std::strcmp(term, "dumb") != 0;
  const bool out_is_terminal = draws && ::isatty(STDOUT_FILENO) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  weightd::cli::Io io{.out = std::cout,
                      .err = std::cerr,
                      .out_fd = STDOUT_FILENO,
                      .err_is_terminal = draws && ::isatty(STDERR_FILENO) == 1,
                      .out_is_terminal = out_is_terminal,
                      .color = out_is_terminal && (no_color == nullptr || *no_color == '\0')};
  const int code = weightd::cli::RunWeightctl(argc, argv, io);
  errno = 0;
  std::cout.flush();
  if (!std::cout.good() && errno != EPIPE && errno != 0) {
    std::cerr << "weightctl: write to stdout: " << std::strerror(errno) << '\n';
    return static_cast<int>(weightd::cli::ExitCode::kError);
  }
  return code;
}
