#include "daemon/format/tensor_decryptor.h"

#include <sodium.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_tensors.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

std::string CountingBytes(size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(i);
  return bytes;
}

std::shared_ptr<const TensorsSecretKey> CountingKey() {
  return *TensorsSecretKey::FromBytes(AsBytes(CountingBytes(32)));
}

template <size_t Bytes>
void Set(std::array<std::byte, Bytes>& to, const std::string& from) {
  ASSERT_EQ(from.size(), Bytes);
  std::memcpy(to.data(), from.data(), Bytes);
}

absl::Span<std::byte> Mutable(std::string& text) {
  return {reinterpret_cast<std::byte*>(text.data()), text.size()};
}

// The vectors of formats.md 1.10.3.
TEST(TensorDecryptorTest, KeyFromAPassword) {
  KeyDerivation derivation = {.operations = 1, .memory_bytes = 8192, .salt = {}};
  Set(derivation.salt, "0123456789abcdef");
  ASSERT_OK_AND_ASSIGN(const auto key, TensorsSecretKey::FromPassword("password", derivation));
  EXPECT_EQ(
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(key->data()), 32)),
      "771338d819573c67116b39e1788ae8e04b0eb0cf9dfbbfe2e6d746cf3e464fc7");
}

TEST(TensorDecryptorTest, TwoPiecesWithTheirNonces) {
  TensorEncryption encryption;
  encryption.piece_bytes = 40;
  Set(encryption.nonce, Hex("ffff00000000000000000000000000000000000000000000"));
  encryption.tags.resize(2);
  Set(encryption.tags[0], Hex("78e8ad9f3b5740642d91c40719b76878"));
  Set(encryption.tags[1], Hex("9e5d886ef7c8977d83adf4c414582877"));
  std::string text =
      Hex("b66b4aa7b9c1ae128396e4d74554a389de0b1dcf926b6f857e9bcbd100b6e8f03bf8a9fad9d79821"
          "d7a14f29f5bdb82d4d3a33a551689d39931d777434548b861be61b826cbb00580685e177ca606048");
  TensorDecryptor decryptor(encryption, text.size(), CountingKey());
  EXPECT_OK(decryptor.Decrypt(Mutable(text)));
  EXPECT_EQ(text, CountingBytes(40) + CountingBytes(40));
}

// As the writer seals, with libsodium's own secretbox.
std::string Seal(std::string text, uint64_t piece_bytes, TensorEncryption& encryption) {
  encryption.piece_bytes = piece_bytes;
  Set(encryption.nonce,
      std::string("\xfe\xff\xff\xff\xff\xff\xff\xff\xff", 9) + std::string(15, 'n'));
  std::array<unsigned char, 24> nonce;
  std::memcpy(nonce.data(), encryption.nonce.data(), nonce.size());
  const std::string key = CountingBytes(32);
  for (uint64_t at = 0; at < text.size(); at += piece_bytes) {
    auto* piece = reinterpret_cast<unsigned char*>(text.data()) + at;
    const uint64_t bytes = std::min<uint64_t>(piece_bytes, text.size() - at);
    std::array<unsigned char, 16> tag;
    EXPECT_EQ(::crypto_secretbox_detached(piece, tag.data(), piece, bytes, nonce.data(),
                                          reinterpret_cast<const unsigned char*>(key.data())),
              0);
    std::memcpy(encryption.tags.emplace_back().data(), tag.data(), tag.size());
    ::sodium_increment(nonce.data(), nonce.size());
  }
  return text;
}

// In parts of any size, over the borders of pieces and of the stream's blocks.
TEST(TensorDecryptorTest, PartsOfAnySize) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const std::string plain = CountingBytes(1 + random() % 9000);
    TensorEncryption encryption;
    const uint64_t piece_bytes = round % 3 == 0 ? plain.size() : 1024 + 64 * (random() % 10);
    std::string text = Seal(plain, piece_bytes, encryption);
    TensorDecryptor decryptor(encryption, text.size(), CountingKey());
    for (size_t at = 0; at < text.size();) {
      const size_t part = std::min<size_t>(1 + random() % 700, text.size() - at);
      ASSERT_OK(decryptor.Decrypt(Mutable(text).subspan(at, part)));
      at += part;
    }
    ASSERT_EQ(text, plain) << round;
  }
}

TEST(TensorDecryptorTest, ChangedDataTagNonceOrKeyIsFound) {
  const std::string plain = CountingBytes(3000);
  TensorEncryption good;
  const std::string sealed = Seal(plain, 1024, good);
  const auto decrypt = [&](std::string text, const TensorEncryption& encryption, auto key) {
    TensorDecryptor decryptor(encryption, text.size(), key);
    return decryptor.Decrypt(Mutable(text));
  };
  EXPECT_OK(decrypt(sealed, good, CountingKey()));
  std::string data = sealed;
  data[2999] ^= 1;
  EXPECT_THAT(decrypt(data, good, CountingKey()),
              ReasonIs(Reason::kIntegrityFailed, HasSubstr("that end at byte 3000")));
  TensorEncryption bad = good;
  bad.tags[1][0] ^= std::byte{1};
  EXPECT_THAT(decrypt(sealed, bad, CountingKey()),
              ReasonIs(Reason::kIntegrityFailed, HasSubstr("that end at byte 2048")));
  bad = good;
  bad.nonce[20] ^= std::byte{1};
  EXPECT_THAT(decrypt(sealed, bad, CountingKey()),
              ReasonIs(Reason::kIntegrityFailed, HasSubstr("the key is not the file's")));
  const auto other = *TensorsSecretKey::FromBytes(AsBytes(std::string(32, 'k')));
  EXPECT_THAT(decrypt(sealed, good, other),
              ReasonIs(Reason::kIntegrityFailed, HasSubstr("that end at byte 1024")));
}

TEST(TensorDecryptorTest, KeyHas32Bytes) {
  for (const size_t bytes : {0, 31, 33}) {
    EXPECT_THAT(TensorsSecretKey::FromBytes(AsBytes(std::string(bytes, 'k'))).status(),
                ReasonIs(Reason::kInvalidRequest, HasSubstr("wanted 32")));
  }
}

}  // namespace
}  // namespace weightd::testing
