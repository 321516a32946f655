#ifndef WEIGHTD_CLIENT_CLI_INVOCATION_H_
#define WEIGHTD_CLIENT_CLI_INVOCATION_H_

#include <functional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/fd_output.h"

namespace weightd::cli {

// Where a command reads and writes. Data goes to `out`, messages for people to `err`.
struct Io {
  std::ostream& out;
  std::ostream& err;
  const FdOutput* sink = nullptr;  // where `out` ends, if it is a descriptor
  bool err_is_terminal = false;    // progress may be animated
  bool out_is_terminal = false;    // a list may be drawn over
  bool color = false;              // `out` may be styled
};

enum class OutputFormat { kTable, kJson };

// What stands before or after any verb.
struct GlobalOptions {
  std::string socket_dir;           // resolved once parsed
  bool default_socket_dir = false;  // nobody named it: who serves there must be trusted
  OutputFormat output = OutputFormat::kTable;
  absl::Duration timeout = absl::Seconds(10);
  bool timeout_given = false;

  // For calls that go on as long as they need unless --timeout says otherwise.
  absl::Duration stream_timeout() const {
    return timeout_given ? timeout : absl::InfiniteDuration();
  }
};

// One run of weightctl: the command line's parser fills in `run` and `what`.
struct Invocation {
  Io& io;
  GlobalOptions options;
  std::string what;  // "stage llama": stands before an error
  std::function<absl::Status()> run;
  bool one_line_json = false;  // this is one look of several

  bool json() const { return options.output == OutputFormat::kJson; }
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_INVOCATION_H_
