#include "daemon/main/log_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/clock.h"
#include "common/unique_fd.h"
#include "daemon/main/logger.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/wait_until.h"

namespace weightd {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A pipe that takes one page, and that nobody reads until Read().
class Pipe {
 public:
  Pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    reader_.reset(ends[0]);
    writer_.reset(ends[1]);
    EXPECT_GE(::fcntl(writer_.get(), F_SETPIPE_SZ, 4096), 4096);
  }
  int writer() const { return writer_.get(); }
  void CloseReader() { reader_.reset(); }
  // All that comes until `text` is in it.
  std::string ReadUntil(const std::string& text) const {
    return ReadUntil([&text](absl::string_view all) { return absl::StrContains(all, text); });
  }
  std::string ReadUntil(absl::FunctionRef<bool(absl::string_view all)> is_all) const {
    std::string all;
    while (!is_all(all)) {
      std::array<char, 4096> part{};
      const ssize_t count = ::read(reader_.get(), part.data(), part.size());
      if (count <= 0) break;
      all.append(part.data(), static_cast<size_t>(count));
    }
    return all;
  }

 private:
  UniqueFd reader_;
  UniqueFd writer_;
};

std::string Dropped(uint64_t lines) { return absl::StrCat("dropped ", lines); }

// The sum of what Dropped() said in the whole lines of `text`.
uint64_t DroppedLines(absl::string_view text) {
  uint64_t sum = 0;
  text = text.substr(0, text.rfind('\n') + 1);
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    uint64_t lines = 0;
    if (absl::ConsumePrefix(&line, "dropped ") && absl::SimpleAtoi(line, &lines)) sum += lines;
  }
  return sum;
}

std::unique_ptr<LogWriter> Make(int fd, const LogWriterLimits& limits = {}) {
  auto writer = LogWriter::Start(fd, Dropped, limits);
  EXPECT_OK(writer);
  return *std::move(writer);
}

TEST(LogWriterTest, WritesEachLine) {
  const Pipe pipe;
  const auto writer = Make(pipe.writer());
  writer->Write("one");
  writer->Write("two");
  EXPECT_EQ(pipe.ReadUntil("two\n"), "one\ntwo\n");
  EXPECT_TRUE(writer->Flush(absl::InfiniteDuration()));
}

// Nobody reads: no call waits, and what was lost is told when somebody reads again.
TEST(LogWriterTest, DropsAndCountsWhatNobodyReads) {
  const Pipe pipe;
  const auto writer = Make(pipe.writer(), {.lines_max = 100});
  const std::string line(1000, 'x');
  for (int i = 0; i < 1000; ++i) writer->Write(line);
  EXPECT_FALSE(writer->Flush(absl::ZeroDuration()));
  const uint64_t dropped = writer->dropped();
  EXPECT_GE(dropped, 700);  // the pipe has 4, one write 64, the queue 100
  EXPECT_LT(dropped, 1000);
  // In one line or in several: the thread may have written while the flood came.
  const std::string all =
      pipe.ReadUntil([dropped](absl::string_view text) { return DroppedLines(text) >= dropped; });
  EXPECT_EQ(DroppedLines(all), dropped);
  writer->Write("end");
  (void)pipe.ReadUntil("end\n");
  // Else the thread would write into what is the descriptor of the next test's pipe.
  EXPECT_TRUE(writer->Flush(absl::InfiniteDuration()));
}

TEST(LogWriterTest, LimitOfBytesStands) {
  const Pipe pipe;
  const auto writer = Make(pipe.writer(), {.lines_max = 1'000'000, .bytes_max = 10'000});
  for (int i = 0; i < 100; ++i) writer->Write(std::string(70'000, 'x'));
  EXPECT_EQ(writer->dropped(), 100);
  writer->Write("short");
  EXPECT_THAT(pipe.ReadUntil("short\n"), StartsWith("dropped 100\nshort\n"));
}

// A reader that is gone, a disk that is full: lost, and nobody waits.
TEST(LogWriterTest, CountsWhatCannotBeWritten) {
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full.valid());
  const auto writer = Make(full.get());
  writer->Write("lost");
  EXPECT_TRUE(writer->Flush(absl::InfiniteDuration()));
  EXPECT_EQ(writer->dropped(), 1);
}

// Somebody who shares the terminal made it non-blocking.
TEST(LogWriterTest, WaitsForADescriptorThatDoesNotBlock) {
  const Pipe pipe;
  ASSERT_EQ(::fcntl(pipe.writer(), F_SETFL, O_NONBLOCK), 0);
  const auto writer = Make(pipe.writer());
  writer->Write(std::string(20'000, 'x') + "end");
  EXPECT_EQ(pipe.ReadUntil("end\n").size(), 20'004);
  EXPECT_EQ(writer->dropped(), 0);
}

// The process may end while nobody reads: the writer leaves its thread behind.
TEST(LogWriterTest, EndsWhileNobodyReads) {
  static const Pipe* const kPipe = new Pipe();  // the thread has it for ever
  const auto writer = Make(kPipe->writer());
  writer->Write(std::string(100'000, 'x'));
}

TEST(LoggerTest, LinesOfAFloodAreCounted) {
  SystemClock clock;
  static const Pipe* const kPipe = new Pipe();  // the thread has it for ever
  auto logger = Logger::Start(LogFormat::kText, LogLevel::kInfo, clock, kPipe->writer(),
                              {.lines_max = 10'000});
  ASSERT_OK(logger);
  for (uint64_t i = 0; i < 5'000; ++i) (*logger)->Log(LogLevel::kInfo, "line", {{"number", i}});
  EXPECT_GE((*logger)->dropped_lines(), 5'000 - 4 * kLogLinesPerSecondMax);
  EXPECT_THAT(kPipe->ReadUntil("number=9\n"), HasSubstr("I20"));
  // Its end waits for a second at most: nobody reads the rest.
}

TEST(LoggerTest, LevelLeavesOutWhatIsBelow) {
  SystemClock clock;
  const Pipe pipe;
  const auto logger = Logger::Start(LogFormat::kText, LogLevel::kWarning, clock, pipe.writer(), {});
  ASSERT_OK(logger);
  (*logger)->Log(LogLevel::kInfo, "quiet");
  (*logger)->Log(LogLevel::kError, "loud");
  (*logger)->WritePlain("plain");
  EXPECT_THAT(pipe.ReadUntil("plain\n"),
              ::testing::AllOf(HasSubstr(" loud\n"), ::testing::Not(HasSubstr("quiet"))));
}

}  // namespace
}  // namespace weightd
