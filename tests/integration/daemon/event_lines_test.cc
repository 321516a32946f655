// One change of state, one event, one line: with the same words and ids in both.

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

// Names in the event, and in the line.
constexpr std::pair<const char*, const char*> kFields[] = {
    {"model", "model"},  {"device", "device"},  {"generation_id", "generation"},
    {"job_id", "job"},   {"lease_id", "lease"}, {"bytes", "bytes"},
    {"pid", "pid"},      {"uid", "uid"},        {"reason", "reason"},
    {"detail", "detail"}};

// A number is text in JSON of protobuf where it has 64 bits, and nothing where it is 0.
std::string TextOf(const nlohmann::json& object, const char* key) {
  if (!object.contains(key)) return "";
  const nlohmann::json& value = object[key];
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  return text == "0" ? "" : text;
}

std::string LineOf(const nlohmann::json& object, bool is_event) {
  std::string line = absl::AsciiStrToLower(TextOf(object, is_event ? "type" : "event"));
  for (const auto& [in_event, in_line] : kFields) {
    const std::string text = TextOf(object, is_event ? in_event : in_line);
    if (!text.empty()) absl::StrAppend(&line, " ", in_line, "=", text);
  }
  return line;
}

class EventLinesTest : public DaemonTest {
 protected:
  // The log's lines that tell of events, as kFields has them; each of its lines must be JSON.
  std::vector<std::string> Lines(const std::set<std::string>& types) const {
    std::vector<std::string> lines;
    for (const absl::string_view text : absl::StrSplit(daemon_->log(), '\n', absl::SkipEmpty())) {
      const auto line = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
      EXPECT_TRUE(line.is_object()) << text;
      if (line.is_object() && types.contains(TextOf(line, "event"))) {
        lines.push_back(LineOf(line, /*is_event=*/false));
      }
    }
    return lines;
  }
};

TEST_F(EventLinesTest, EveryEventIsALineWithTheSameIds) {
  MakeModel("m", 1 << 20);
  Start({"--log.format", "JSON", "--host.budget-bytes", "8388608"});
  Stage("m");
  EXPECT_EQ(ctl_.Run({"pin", "m"}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.Run({"unpin", "m"}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.Run({"verify", "m"}).exit_code, kExitOk);
  EXPECT_NE(ctl_.Run({"stage", "no such\x1b[2J\n\"model\"", "--wait"}).exit_code, kExitOk);
  EXPECT_NE(ctl_.Run({"stage", "nowhere", "--wait"}).exit_code, kExitOk);
  EXPECT_NE(ctl_.Run({"stage", "m", "--device", "GPU-none"}).exit_code, kExitOk);
  MakeModel("large", 16 << 20);
  EXPECT_NE(ctl_.Run({"stage", "large", "--wait"}).exit_code, kExitOk);
  EXPECT_FALSE(AttachProbe(Probe("large", {})).is_attached());
  { const RawAttach attach(Connect(socket_dir_), "m"); }
  {
    const auto holder = Attach("m");
    EXPECT_EQ(ctl_.Run({"evict", "m", "--force", "--grace", "0s"}).exit_code, kExitOk);
  }
  MakeModel("room", 6 << 20);
  Stage("m");
  Stage("room");
  EXPECT_EQ(ctl_.Run({"evict", "room"}).exit_code, kExitOk);

  std::vector<std::string> told;
  std::set<std::string> types;
  std::set<std::string> words;
  const auto watcher = ctl_.Start({"events", "--replay", "1024", "-o", "json"});
  while (const std::optional<std::string> text = watcher->NextLine()) {
    const auto event = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(event.is_object()) << *text;
    told.push_back(LineOf(event, /*is_event=*/true));
    types.insert(absl::AsciiStrToLower(TextOf(event, "type")));
    words.insert(TextOf(event, "reason"));
    if (TextOf(event, "type") == "EVICTED" && TextOf(event, "model") == "room") break;
  }
  StopCleanly();
  EXPECT_THAT(types, IsSupersetOf({"stage_started", "stage_done", "stage_failed", "stage_refused",
                                   "evicted", "pinned", "unpinned", "lease_granted", "lease_ended",
                                   "attach_refused", "verified"}));
  EXPECT_THAT(words, IsSupersetOf({"BUDGET_EXCEEDED", "DEVICE_NOT_FOUND", "MODEL_NOT_RESIDENT",
                                   "STREAM_ENDED", "FORCE", "ROOM", "OPERATOR"}));
  std::vector<std::string> lines = Lines(types);
  // What came after is the drain's.
  ASSERT_GE(lines.size(), told.size());
  lines.resize(told.size());
  EXPECT_EQ(lines, told);
}

}  // namespace
}  // namespace weightd::testing
