#include "client/cli/text.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/format_units.h"
#include "common/printable_text.h"

namespace weightd::cli {

std::string Printable(absl::string_view text) { return PrintableText(text); }

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  for (const char c : text) {
    const bool continuation = (static_cast<unsigned char>(c) & 0xc0) == 0x80;
    if (!continuation) ++width;
  }
  return width;
}

std::string FormatTime(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return "";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixSeconds(time.seconds()),
                          absl::LocalTimeZone());
}

std::string FormatRate(uint64_t bytes_per_second) {
  return bytes_per_second == 0 ? "" : FormatBytes(bytes_per_second) + "/s";
}

bool IsStuck(const v1::VolumeStatus& volume) {
  return volume.reads_stuck() > 0 || volume.bytes_stuck() > 0;
}

std::string StuckText(const v1::VolumeStatus& volume) {
  return absl::StrCat(volume.root(), ": ", volume.reads_stuck(),
                      volume.reads_stuck() == 1 ? " read does" : " reads do",
                      " not come back since ", FormatTime(volume.reads_stuck_since()), " (",
                      volume.reads_stuck_at(), "); ", FormatBytes(volume.bytes_stuck()),
                      " stay booked until then");
}

std::vector<std::string> StuckTexts(const v1::VolumeStatus& volume) {
  std::vector<std::string> texts;
  for (const v1::StuckCall& call : volume.stuck()) {
    std::string& text = texts.emplace_back(absl::StrCat(volume.root(), ": ", call.what()));
    if (!call.model().empty()) absl::StrAppend(&text, ", of ", call.model(), ",");
    absl::StrAppend(&text, " does not come back since ", FormatTime(call.since()));
    if (call.calls() == 2) absl::StrAppend(&text, ", nor does 1 other");
    if (call.calls() > 2) absl::StrAppend(&text, ", nor do ", call.calls() - 1, " others");
    if (call.bytes() == 0) continue;
    absl::StrAppend(&text, "; ", FormatBytes(call.bytes()), " stay booked until then");
  }
  // Of a daemon before it told them one by one.
  if (texts.empty() && IsStuck(volume)) texts.push_back(StuckText(volume));
  return texts;
}

std::string Counted(uint64_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

absl::StatusOr<absl::Duration> ParseTimeout(absl::string_view text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds) && !std::isnan(seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(
        absl::StrCat("`", text, "` is not a time such as 10s, 500ms or 2m"));
  }
  if (duration <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("`", text, "` is not above 0"));
  }
  return duration;
}

}  // namespace weightd::cli
