#ifndef WEIGHTD_TESTS_INTEGRATION_DAEMON_SECRET_JUDGE_H_
#define WEIGHTD_TESTS_INTEGRATION_DAEMON_SECRET_JUDGE_H_

#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace weightd::testing {

// Whether `text` has a part of `secret`: its bytes as they are, as C or JSON escapes them, in
// hexadecimal or in Base64. Parts without much in them (zeros of a struct) say nothing and are left
// out.
class SecretJudge {
 public:
  explicit SecretJudge(absl::string_view text) : text_(text), lower_(absl::AsciiStrToLower(text)) {}

  // The form in which it was found; empty: nowhere.
  std::string Find(absl::string_view secret) const {
    for (size_t i = 0; i + kPartBytes <= secret.size(); ++i) {
      const absl::string_view part = secret.substr(i, kPartBytes);
      if (std::set<char>(part.begin(), part.end()).size() < kDistinctBytesMin) continue;
      if (Has(part)) return "raw";
      if (Has(absl::CEscape(part)) || Has(absl::Utf8SafeCHexEscape(part))) return "escaped";
      if (absl::StrContains(lower_, absl::BytesToHexString(part))) return "hex";
      // Any run of nine bytes has six that begin a group: some part meets them.
      if (Has(absl::Base64Escape(part)) || Has(absl::WebSafeBase64Escape(part))) return "base64";
    }
    return "";
  }
  // How many parts of it say something: a judge of zeros judges nothing.
  static size_t CountParts(absl::string_view secret) {
    size_t count = 0;
    for (size_t i = 0; i + kPartBytes <= secret.size(); ++i) {
      const absl::string_view part = secret.substr(i, kPartBytes);
      if (std::set<char>(part.begin(), part.end()).size() >= kDistinctBytesMin) ++count;
    }
    return count;
  }

 private:
  static constexpr size_t kPartBytes = 6;  // whole groups of Base64
  static constexpr size_t kDistinctBytesMin = 5;

  bool Has(absl::string_view part) const { return absl::StrContains(text_, part); }

  const std::string text_;
  const std::string lower_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_DAEMON_SECRET_JUDGE_H_
