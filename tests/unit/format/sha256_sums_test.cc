#include "daemon/format/sha256_sums.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Of the empty file, and of "abc" (FIPS 180-2).
constexpr absl::string_view kOfNothing =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr absl::string_view kOfAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Sha256Test, IsThatOfFips180) {
  Sha256Hasher hasher;
  const std::string text = "abc";
  for (const char& c : text) hasher.Update({reinterpret_cast<const std::byte*>(&c), 1});
  EXPECT_EQ(DigestText(hasher.Finish()), kOfAbc);
  EXPECT_EQ(DigestText(Sha256Hasher().Finish()), kOfNothing);
}

TEST(Sha256Test, TextIsReadBack) {
  EXPECT_EQ(DigestText(ParseSha256(kOfAbc).value()), kOfAbc);
  EXPECT_EQ(DigestText(ParseSha256(absl::AsciiStrToUpper(kOfAbc)).value()), kOfAbc);
  for (const std::string& bad :
       {std::string(), std::string(kOfAbc.substr(1)), absl::StrCat(kOfAbc, "0"),
        absl::StrCat("g", kOfAbc.substr(1)), absl::StrCat(" ", kOfAbc.substr(1))}) {
    EXPECT_FALSE(ParseSha256(bad).has_value()) << bad;
  }
}

// Written by sha256sum of coreutils 9.1, -b for the second; the third file's name is a\n\b.
TEST(Sha256SumsTest, ReadsWhatSha256sumWrites) {
  const std::string text =
      absl::StrCat("# ours\n", kOfNothing, "  model 1.safetensors\n\n", kOfAbc, " *./b.tensors\r\n",
                   "\\", kOfAbc, "  a\\n\\\\b\n", kOfAbc, "  b.tensors");
  ASSERT_OK_AND_ASSIGN(const auto sums, ParseSha256Sums(text, "d/SHA256SUMS"));
  ASSERT_EQ(sums.size(), 3);
  EXPECT_EQ(DigestText(sums.at("model 1.safetensors")), kOfNothing);
  EXPECT_EQ(DigestText(sums.at("b.tensors")), kOfAbc);
  EXPECT_EQ(DigestText(sums.at("a\n\\b")), kOfAbc);
  ASSERT_OK_AND_ASSIGN(const auto none, ParseSha256Sums("", "d/SHA256SUMS"));
  EXPECT_TRUE(none.empty());
}

TEST(Sha256SumsTest, RefusesWhatIsNone) {
  const std::string good = absl::StrCat(kOfAbc, "  a\n");
  for (const std::string& bad : {std::string("x"), absl::StrCat(kOfAbc), absl::StrCat(kOfAbc, "  "),
                                 absl::StrCat(kOfAbc, " a"), absl::StrCat(kOfAbc.substr(2), "  a"),
                                 absl::StrCat("SHA256 (a) = ", kOfAbc)}) {
    EXPECT_THAT(ParseSha256Sums(good + bad, "d/SHA256SUMS"),
                ReasonIs(Reason::kCheckpointInvalid, AllOf(HasSubstr("d/SHA256SUMS: line 2"),
                                                           HasSubstr("as sha256sum writes"))))
        << bad;
  }
  EXPECT_THAT(
      ParseSha256Sums(absl::StrCat(good, kOfNothing, "  ./a"), "d/SHA256SUMS"),
      ReasonIs(Reason::kCheckpointInvalid, HasSubstr("line 2: \"a\" has another sum above")));
}

}  // namespace
}  // namespace weightd::testing
