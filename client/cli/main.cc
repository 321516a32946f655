#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <ostream>

#include "client/cli/exit_codes.h"
#include "client/cli/fd_output.h"
#include "client/cli/file_work.h"
#include "client/cli/weightctl.h"
#include "common/leave_process.h"
#include "common/standard_streams.h"

namespace {

constexpr absl::Duration kMessagePatience = absl::Seconds(1);

}  // namespace

int main(int argc, char** argv) {
  if (const absl::Status opened = weightd::OpenClosedStandardStreams(); !opened.ok()) {
    std::cerr << "weightctl: " << opened.message() << std::endl;
    return static_cast<int>(weightd::cli::ExitCode::kError);
  }
  // A reader that left (`weightctl ls | true`) shows as EPIPE, a limit on file sizes as EFBIG.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  // A terminal that cannot draw over what it shows is none.
  const char* term = std::getenv("TERM");
  const bool draws = term == nullptr || std::strcmp(term, "dumb") != 0;
  const bool out_is_terminal = draws && ::isatty(STDOUT_FILENO) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  weightd::cli::FdOutput sink(STDOUT_FILENO);
  std::ostream out(&sink);
  weightd::cli::FdOutput messages(STDERR_FILENO, kMessagePatience);
  std::ostream err(&messages);
  err << std::unitbuf;
  weightd::cli::Io io{.out = out,
                      .err = err,
                      .sink = &sink,
                      .err_is_terminal = draws && ::isatty(STDERR_FILENO) == 1,
                      .out_is_terminal = out_is_terminal,
                      .color = out_is_terminal && (no_color == nullptr || *no_color == '\0')};
  const int code = weightd::cli::RunWeightctl(argc, argv, io);
  if (weightd::cli::LeftFileWorkBehind()) weightd::LeaveProcess(code);
  return code;
}
