#include "client/cli/table.h"

#include <sstream>

#include "client/cli/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::cli {
namespace {

using ::testing::HasSubstr;
using weightd::testing::StatusIs;

std::string Print(const Table& table, bool color = false) {
  std::ostringstream out;
  table.Print(out, color);
  return out.str();
}

TEST(TableTest, AlignsColumnsAndLeavesNothingAtTheEndOfALine) {
  Table table({{"MODEL"}, {"SIZE", true}, {"NOTE"}});
  table.AddRow({"llama-8b", "16.1 GB", "x"});
  table.AddRow({"m", "1 B", "longer"});
  EXPECT_EQ(Print(table),
            "MODEL        SIZE  NOTE\n"
            "llama-8b  16.1 GB  x\n"
            "m             1 B  longer\n");
}

TEST(TableTest, PrintsTitlesWithoutRowsAndADashForAnEmptyCell) {
  Table table({{"A"}, {"B"}});
  EXPECT_EQ(Print(table), "A  B\n");
  table.AddRow({"", "x"});
  EXPECT_EQ(Print(table), "A  B\n-  x\n");
}

TEST(TableTest, StylesTitlesOnlyWhenAsked) {
  EXPECT_EQ(Print(Table({{"A"}}), true), "\x1b[1mA\x1b[0m\n");
}

TEST(TableTest, CountsUtf8AsCharactersAndShowsControlCharacters) {
  Table table({{"A"}, {"B"}});
  table.AddRow({"\xc3\xa9\xc3\xa9", "x"});
  table.AddRow({"abc", "\x1b[2J"});
  EXPECT_EQ(Print(table), "A    B\n\xc3\xa9\xc3\xa9   x\nabc  \\x1b[2J\n");
}

TEST(TextTest, ParsesTimeouts) {
  EXPECT_EQ(*ParseTimeout("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(*ParseTimeout("2m"), absl::Minutes(2));
  EXPECT_EQ(*ParseTimeout("1.5"), absl::Milliseconds(1500));
  for (const char* bad : {"", "0", "-1s", "soon", "nan"}) {
    EXPECT_THAT(ParseTimeout(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`")))
        << bad;
  }
}

TEST(TextTest, CountsInWords) {
  EXPECT_EQ(Counted(1, "tensor"), "1 tensor");
  EXPECT_EQ(Counted(0, "tensor"), "0 tensors");
}

}  // namespace
}  // namespace weightd::cli
