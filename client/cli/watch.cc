#include "client/cli/watch.h"

#include <sys/ioctl.h>

#include <memory>
#include <ostream>
#include <sstream>

#include "absl/strings/str_replace.h"
#include "client/cli/interrupt.h"
#include "client/cli/json.h"
#include "client/cli/text.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

constexpr absl::Duration kDefaultInterval = absl::Seconds(2);
// A screen of its own, which leaves what was there before; without the cursor, and long lines end
// at the edge.
constexpr const char* kEnterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l";
constexpr const char* kLeaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l";
// Drawing over what is there flickers less than clearing it first.
constexpr const char* kHome = "\x1b[H";
constexpr const char* kEraseRestOfLine = "\x1b[K";
constexpr const char* kEraseBelow = "\x1b[J";

// As many lines as the terminal has, the last without its end, so that nothing scrolls away.
std::string FitLines(const std::string& text, int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return text;
  size_t end = 0;
  for (int lines = 0; lines < size.ws_row; ++lines) {
    const size_t next = text.find('\n', end);
    if (next == std::string::npos) return text;
    end = next + 1;
  }
  return text.substr(0, end - 1);
}

class Screen {
 public:
  Screen(const Io& io, bool is_terminal)
      : out_(io.out), fd_(io.sink == nullptr ? -1 : io.sink->fd()), is_terminal_(is_terminal) {
    if (is_terminal_) out_ << kEnterScreen << std::flush;
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  ~Screen() {
    if (is_terminal_) out_ << kLeaveScreen << std::flush;
  }

  void Show(const std::string& text, bool is_first, bool is_json) {
    if (is_terminal_) {
      out_ << kHome
           << absl::StrReplaceAll(FitLines(text, fd_),
                                  {{"\n", std::string(kEraseRestOfLine) + "\n"}})
           << kEraseBelow;
    } else {
      out_ << (is_first || is_json ? "" : "\n") << text;
    }
    out_ << std::flush;
  }

 private:
  std::ostream& out_;
  const int fd_;
  const bool is_terminal_;
};

}  // namespace

absl::StatusOr<absl::Duration> WatchArguments::interval() const {
  if (interval_text.empty()) return kDefaultInterval;
  return ParseTimeout(interval_text);
}

void AddInterval(CLI::App* verb, WatchArguments& arguments) {
  verb->add_option("--interval", arguments.interval_text, "between two looks: 2s (default), 500ms")
      ->type_name("TIME");
}

void AddWatch(CLI::App* verb, WatchArguments& arguments) {
  verb->add_flag("--watch", arguments.watch, "again and again, until it is interrupted");
  AddInterval(verb, arguments);
}

absl::Status ShowOrWatch(const Invocation& invocation, const WatchArguments& arguments,
                         absl::FunctionRef<absl::Status(const Invocation&)> show) {
  if (!arguments.watch) return show(invocation);
  ASSIGN_OR_RETURN(const absl::Duration interval, arguments.interval());
  const Interrupt interrupt;
  std::ostream& out = invocation.io.out;
  std::unique_ptr<Screen> screen;
  do {
    std::ostringstream text;
    Io io{.out = text, .err = invocation.io.err, .color = invocation.io.color};
    Invocation look{.io = io, .options = invocation.options, .what = invocation.what, .run = {}};
    look.one_line_json = true;
    const absl::Status status = show(look);
    const bool is_first = screen == nullptr;
    if (is_first) {
      RETURN_IF_ERROR(status);
      screen = std::make_unique<Screen>(invocation.io,
                                        invocation.io.out_is_terminal && !invocation.json());
    }
    if (status.ok()) {
      screen->Show(text.str(), is_first, invocation.json());
    } else if (invocation.json() || !invocation.io.out_is_terminal) {
      invocation.io.err << "weightctl: " << Printable(status.message()) << std::endl;
    } else {
      screen->Show(Printable(status.message()) + "\n", is_first, false);
    }
    // Output that cannot be written ends it as well; RunWeightctl() tells.
  } while (out.good() && interrupt.Pause(interval));
  return absl::OkStatus();
}

std::string JsonText(const Invocation& invocation, const nlohmann::ordered_json& value) {
  return invocation.one_line_json ? JsonLine(value) : JsonDocument(value);
}

}  // namespace weightd::cli
