#include "daemon/format/tensor_hasher.h"

#include <string>

#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_tensors.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Of xxhsum -H128 (xxHash 0.8).
TEST(TensorHasherTest, DigestIsXxh3OfTheTensorsBytesAlone) {
  const StoredHashes stored = {.crc32 = 1, .sha256 = {}, .header = "header", .header_zeros = 3};
  for (const StoredHashes* hashes : {static_cast<const StoredHashes*>(nullptr), &stored}) {
    TensorHasher hasher(VerifyMode::kFull, hashes, 5);
    EXPECT_EQ(DigestText(hasher.digest()), "99aa06d3014798d86001c324468d497f");
    hasher.Update(AsBytes("he"));
    hasher.Update(AsBytes("llo"));
    EXPECT_EQ(DigestText(hasher.digest()), "b5e9c1ad071b3e7fc779cfaa5e523818");
  }
}

// The worked example of formats.md 1.14.
TEST(TensorHasherTest, ChecksTheHashesOfAFile) {
  StoredHashes stored;
  stored.header =
      Hex("4a 00 00 00 00 00 00 00 00 00 02 01 00 77 03 3c 66 34 01 02 00 00 00 29 00 02") +
      Hex("00 04 00000000 01 20");
  stored.header_zeros = 32;
  stored.crc32 = 0x8ecca2eb;
  const std::string sha256 =
      Hex("15 14 0f 84 51 43 62 e3 35 97 9b 22 d2 a4 16 e2 d3 fb e1 97 7a 60 69 c0 0f 0e"
          "1f 05 9d 30 e8 f2");
  Sha256 digest;
  std::copy(AsBytes(sha256).begin(), AsBytes(sha256).end(), digest.begin());
  stored.sha256 = digest;
  const std::string data = Hex("00 00 80 3f 00 00 00 c0");

  TensorHasher full(VerifyMode::kFull, &stored, 8);
  full.Update(AsBytes(data));
  EXPECT_OK(full.Check());
  EXPECT_EQ(full.checked(), 2);
  TensorHasher fast(VerifyMode::kFast, &stored, 8);
  fast.Update(AsBytes(data));
  EXPECT_OK(fast.Check());
  EXPECT_EQ(fast.checked(), 1);

  const std::string wrong = Hex("01 00 80 3f 00 00 00 c0");
  TensorHasher wrong_crc(VerifyMode::kFast, &stored, 8);
  wrong_crc.Update(AsBytes(wrong));
  EXPECT_THAT(wrong_crc.Check(),
              ReasonIs(Reason::kIntegrityFailed, AllOf(HasSubstr("CRC32"), HasSubstr("8ecca2eb"))));
  stored.crc32.reset();
  TensorHasher wrong_sha(VerifyMode::kFull, &stored, 8);
  wrong_sha.Update(AsBytes(wrong));
  EXPECT_THAT(wrong_sha.Check(), ReasonIs(Reason::kIntegrityFailed,
                                          AllOf(HasSubstr("SHA-256"), HasSubstr("15140f84"))));
  TensorHasher none(VerifyMode::kNone, &stored, 8);
  none.Update(AsBytes(wrong));
  EXPECT_OK(none.Check());
  EXPECT_EQ(none.checked(), 0);
}

TEST(TensorHasherTest, ZerosAreHashedLikeAnyBytes) {
  for (const uint64_t bytes : {0, 1, 131'072, 300'001}) {
    TensorHasher hasher(VerifyMode::kFast, nullptr, bytes);
    hasher.Update(AsBytes(std::string(bytes, '\0')));
    EXPECT_EQ(DigestOfZeros(bytes), hasher.digest());
  }
}

}  // namespace
}  // namespace weightd::testing
