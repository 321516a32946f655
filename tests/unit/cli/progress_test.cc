#include "client/cli/progress.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weightd::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

v1::StageModelResponse Reading(uint64_t done, uint64_t total) {
  v1::StageModelResponse progress;
  progress.set_phase(v1::READING);
  progress.set_bytes_done(done);
  progress.set_bytes_total(total);
  progress.set_bytes_per_second(2'300'000'000);
  return progress;
}

TEST(ProgressTest, DrawsTheShareThatIsDone) {
  EXPECT_EQ(ProgressBar("llama", Reading(6'000'000'000, 10'000'000'000), 10),
            "llama  reading    [######----]  60 %  6.0 GB of 10.0 GB  2.3 GB/s");
}

TEST(ProgressTest, HasNoBarBeforeTheSizeIsKnown) {
  v1::StageModelResponse progress;
  progress.set_phase(v1::PLANNING);
  EXPECT_EQ(ProgressBar("llama", progress, 10), "llama  planning");
  progress.set_phase(static_cast<v1::StagePhase>(99));
  EXPECT_EQ(ProgressBar("llama", progress, 10), "llama  working");
}

TEST(ProgressTest, StaysInsideTheBarWhateverTheNumbers) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  EXPECT_THAT(ProgressBar("m", Reading(kMax, 1), 4), HasSubstr("[####] 100 %"));
  EXPECT_THAT(ProgressBar("m", Reading(kMax, kMax), 4), HasSubstr("[####] 100 %"));
  EXPECT_THAT(ProgressBar("m", Reading(0, kMax), 4), HasSubstr("[----]   0 %"));
}

TEST(ProgressPrinterTest, PrintsALinePerPhaseAndTenthWithoutATerminal) {
  std::ostringstream err;
  {
    ProgressPrinter printer(err, false, "m");
    v1::StageModelResponse queued;
    queued.set_phase(v1::QUEUED);
    printer.Show(queued);
    printer.Show(queued);
    for (uint64_t done = 0; done <= 1000; ++done) printer.Show(Reading(done, 1000));
  }
  const std::string text = err.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 11);
  EXPECT_THAT(text, Not(HasSubstr("\r")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("m: queued\nm: reading 0 %"));
  EXPECT_THAT(text, HasSubstr("m: reading 100 %  1.0 kB of 1.0 kB  2.3 GB/s\n"));
}

TEST(ProgressPrinterTest, DrawsOverOneLineOnATerminalAndTakesItAway) {
  std::ostringstream err;
  {
    ProgressPrinter printer(err, true, "m");
    printer.Show(Reading(1, 2));
    printer.Show(Reading(2, 2));
  }
  EXPECT_THAT(err.str(), Not(HasSubstr("\n")));
  EXPECT_THAT(err.str(), EndsWith("\r\x1b[K"));
}

TEST(ProgressPrinterTest, ShowsControlCharactersOfAName) {
  std::ostringstream err;
  ProgressPrinter printer(err, true, "\x1b]0;x\a");
  printer.Show(Reading(1, 2));
  EXPECT_THAT(err.str(), HasSubstr("\\x1b]0;x\\x07"));
}

}  // namespace
}  // namespace weightd::cli
