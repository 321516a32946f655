#ifndef WEIGHTD_CLIENT_CLI_TEXT_H_
#define WEIGHTD_CLIENT_CLI_TEXT_H_

#include <google/protobuf/timestamp.pb.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "weightd/v1/weight_cache.pb.h"

// How values look to people. Thread-safe: pure functions.

namespace weightd::cli {

// `text` as PrintableText() has it, so that a name cannot command a terminal.
std::string Printable(absl::string_view text);

// Columns that UTF-8 text takes, one per code point.
size_t DisplayWidth(absl::string_view text);

// "2026-01-31 12:00:05" in local time; empty for an unset time.
std::string FormatTime(const google::protobuf::Timestamp& time);

// "2.3 GB/s"; empty for 0.
std::string FormatRate(uint64_t bytes_per_second);

// Whether reads of the root's volume hang, and how: "/models: 8 reads do not come back since ...".
bool IsStuck(const v1::VolumeStatus& volume);
std::string StuckText(const v1::VolumeStatus& volume);
// All that the volume does not answer, a sentence each, the oldest first: "/models: read a at 0, of
// m, does not come back since ..., nor do 7 others; 2.1 GB stay booked until then".
std::vector<std::string> StuckTexts(const v1::VolumeStatus& volume);

// "3 models", "1 model": `noun` in the plural unless `count` is 1.
std::string Counted(uint64_t count, absl::string_view noun);

// "10s", "500ms", "2m", or seconds as a number; above 0.
absl::StatusOr<absl::Duration> ParseTimeout(absl::string_view text);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_TEXT_H_
