#include "daemon/main/logger.h"

#include <nlohmann/json.hpp>

#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(LoggerTest, TextLineQuotesOnlyWhatNeedsIt) {
  EXPECT_EQ(FormatTextLine("stage_failed", {{"model", std::string("a/b")},
                                            {"bytes", uint64_t{5}},
                                            {"detail", std::string("no \"room\"\nat all")}}),
            "stage_failed model=a/b bytes=5 detail=\"no \\\"room\\\"\\nat all\"");
}

TEST(LoggerTest, TextLineQuotesAnEmptyValue) {
  EXPECT_EQ(FormatTextLine("x", {{"a", std::string()}}), "x a=\"\"");
  // No terminal obeys what a client calls a model.
  EXPECT_EQ(FormatTextLine("x", {{"a", std::string("\x1b[2J\x7f")}}), "x a=\"\\x1b[2J\\x7f\"");
}

// Neither shows it as something else than it is, nor reads it as two lines.
TEST(LoggerTest, TextLineShowsWhatHidesOrTurnsText) {
  EXPECT_EQ(FormatTextLine("x", {{"a", std::string("a\u202Etxt\u2028b\xc2\x9b\xff")}}),
            "x a=\"a\\u{202e}txt\\u{2028}b\\u{9b}\\xff\"");
  // What looks like an escape in the text itself is told from one.
  EXPECT_EQ(FormatTextLine("x", {{"a", std::string("\\u{202e}")}}), "x a=\"\\\\u{202e}\"");
  EXPECT_EQ(FormatTextLine("x", {{"a", std::string("Größe")}}), "x a=Größe");
}

TEST(LoggerTest, JsonLineKeepsNumbersAndSurvivesBadUtf8) {
  const std::string line =
      FormatJsonLine(absl::FromUnixMillis(1500), "info", "evicted",
                     {{"bytes", uint64_t{18446744073709551615u}}, {"model", std::string("\xff")}});
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], "1970-01-01T00:00:01.500Z");
  EXPECT_EQ(json["event"], "evicted");
  EXPECT_EQ(json["bytes"].get<uint64_t>(), 18446744073709551615u);
  EXPECT_EQ(line.find('\n'), std::string::npos);
}

TEST(LoggerTest, EventFieldsLeaveOutWhatIsEmpty) {
  Event event = Event::StageStarted({.model = "m", .device = "", .job = JobId(3)});
  EXPECT_EQ(FormatTextLine("stage_started", EventFields(event)), "stage_started model=m job=3");
  event.lease_id = 1;  // uid 0 is somebody, once a peer is meant
  EXPECT_EQ(FormatTextLine("x", EventFields(event)), "x model=m job=3 lease=1 pid=0 uid=0");
}

}  // namespace
}  // namespace weightd
