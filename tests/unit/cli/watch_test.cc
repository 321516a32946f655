#include "client/cli/watch.h"

#include <signal.h>
#include <unistd.h>

#include <sstream>

#include "absl/strings/str_cat.h"
#include "client/cli/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What it looks like after `looks` looks; the last one sends SIGINT, as Ctrl-C does.
std::string Watch(int looks, bool is_terminal, int fail_at = -1) {
  std::ostringstream out;
  std::ostringstream err;
  Io io{.out = out, .err = err, .out_is_terminal = is_terminal};
  const Invocation invocation{.io = io, .options = {}, .what = {}, .run = {}};
  int look = 0;
  const absl::Status status = ShowOrWatch(invocation, {.watch = true, .interval_text = "1ms"},
                                          [&](const Invocation& one) -> absl::Status {
                                            ++look;
                                            if (look == looks) ::raise(SIGINT);
                                            if (look == fail_at)
                                              return absl::UnavailableError("gone");
                                            one.io.out << "look " << look << "\n";
                                            return absl::OkStatus();
                                          });
  EXPECT_EQ(status, fail_at == 1 ? absl::UnavailableError("gone") : absl::OkStatus());
  return absl::StrCat(out.str(), err.str());
}

TEST(WatchTest, WithoutATerminalOneLookIsBelowTheOther) {
  EXPECT_EQ(Watch(3, false), "look 1\n\nlook 2\n\nlook 3\n");
}

TEST(WatchTest, OnATerminalItDrawsOverAndLeavesItAsItWas) {
  const std::string out = Watch(2, true);
  EXPECT_THAT(out, ::testing::StartsWith("\x1b[?1049h\x1b[?25l"));
  EXPECT_THAT(out, HasSubstr("\x1b[Hlook 2\x1b[K\n\x1b[J"));
  EXPECT_THAT(out, ::testing::EndsWith("\x1b[?25h\x1b[?1049l"));
}

TEST(WatchTest, TheFirstLookMustSucceedAndALaterFailureIsSaid) {
  EXPECT_THAT(Watch(1, true, 1), Not(HasSubstr("\x1b")));
  EXPECT_EQ(Watch(3, false, 2), "look 1\n\nlook 3\nweightctl: gone\n");
}

TEST(WatchTest, ThePauseEndsWithASignal) {
  const Interrupt interrupt;
  EXPECT_TRUE(interrupt.Pause(absl::Milliseconds(1)));
  ::raise(SIGTERM);
  EXPECT_FALSE(interrupt.Pause(absl::Hours(1)));
}

}  // namespace
}  // namespace weightd::cli
