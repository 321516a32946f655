#include "daemon/format/sha256_sums.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/errors.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr size_t kDigits = 64;

struct Line {
  std::string name;
  Sha256 sha256;
};

std::optional<Line> ParseLine(absl::string_view text) {
  const bool is_escaped = absl::ConsumePrefix(&text, "\\");
  const std::optional<Sha256> sha256 = ParseSha256(text.substr(0, kDigits));
  if (!sha256.has_value()) return std::nullopt;
  text.remove_prefix(kDigits);
  if (!absl::ConsumePrefix(&text, "  ") && !absl::ConsumePrefix(&text, " *")) return std::nullopt;
  while (absl::ConsumePrefix(&text, "./")) {
  }
  if (text.empty()) return std::nullopt;
  std::string name(text);
  if (is_escaped) name = absl::StrReplaceAll(name, {{"\\\\", "\\"}, {"\\n", "\n"}, {"\\r", "\r"}});
  return Line{.name = std::move(name), .sha256 = *sha256};
}

absl::Status InvalidLine(absl::string_view path, size_t number, absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kDataLoss, Reason::kCheckpointInvalid,
                         absl::StrCat("read ", path, ": line ", number, ": ", message));
}

}  // namespace

absl::StatusOr<absl::flat_hash_map<std::string, Sha256>> ParseSha256Sums(absl::string_view text,
                                                                         absl::string_view path) {
  absl::flat_hash_map<std::string, Sha256> sums;
  size_t number = 0;
  for (const absl::string_view one : absl::StrSplit(text, '\n')) {
    ++number;
    const absl::string_view line = absl::StripSuffix(one, "\r");
    if (line.empty() || line.front() == '#') continue;
    std::optional<Line> parsed = ParseLine(line);
    if (!parsed.has_value()) {
      return InvalidLine(path, number,
                         absl::StrCat("is ", Quoted(line),
                                      ", wanted 64 hexadecimal digits, two spaces and a name, as "
                                      "sha256sum writes them"));
    }
    const auto [known, is_new] = sums.try_emplace(parsed->name, parsed->sha256);
    if (is_new || known->second == parsed->sha256) continue;
    return InvalidLine(path, number, absl::StrCat(Quoted(parsed->name), " has another sum above"));
  }
  return sums;
}

}  // namespace weightd
