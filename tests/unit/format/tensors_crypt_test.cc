#include <functional>
#include <string>
#include <vector>

#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_tensors.h"

// Crypt blocks: formats.md 1.10.1.

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// A crypt block, every field of which a test can spoil.
struct CryptText {
  uint16_t method = 1;
  uint64_t operations = 3;
  uint64_t memory_bytes = 268'435'456;
  uint32_t algorithm = 2;
  std::string salt = std::string(16, 's');
  bool has_derivation = false;

  uint16_t type = 2;
  uint64_t piece_bytes = 1024;
  std::string nonce = std::string(24, 'n');
  uint64_t tag_count = 3;
  std::string tags = std::string(48, 't');
  bool has_encryption = true;

  std::string surplus;

  static std::string Chunk(const std::string& text) { return Le(uint64_t{text.size()}) + text; }
  std::string Derivation() const {
    return Chunk(Le(uint16_t{1}) + Le(method) + Le(operations) + Le(memory_bytes) + Le(algorithm) +
                 Le(static_cast<uint16_t>(salt.size())) + salt);
  }
  std::string Encryption() const {
    if (type == 3) return Chunk(Le(type) + nonce + tags);
    return Chunk(Le(type) + Le(piece_bytes) + nonce + Le(tag_count) + tags);
  }
  std::string Text(int derivations, int encryptions) const {
    std::string text = Le(static_cast<uint16_t>(derivations + encryptions));
    for (int i = 0; i < derivations; ++i) text += Derivation();
    for (int i = 0; i < encryptions; ++i) text += Encryption();
    return Chunk(text + surplus);
  }
  std::string Text() const { return Text(has_derivation ? 1 : 0, has_encryption ? 1 : 0); }
};

TensorText Encrypted(const std::string& crypt) {
  TensorText tensor;
  tensor.dtype = "|u1";
  tensor.shape = {3000};
  tensor.data = std::string(3000, 'c');
  tensor.hashes = Hex("23 00 01 01 20") + std::string(32, '\0');
  tensor.crypt = crypt;
  return tensor;
}

std::string FileOf(const CryptText& crypt) { return FileText({Encrypted(crypt.Text())}, 3); }

TEST(TensorsCryptTest, ReadsPiecesAndKeyDerivation) {
  CryptText crypt;
  crypt.has_derivation = true;
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(FileOf(crypt)));
  EXPECT_TRUE(header.shard.is_encrypted);
  ASSERT_TRUE(header.shard.key_derivation.has_value());
  EXPECT_EQ(header.shard.key_derivation->operations, 3);
  EXPECT_EQ(header.shard.key_derivation->memory_bytes, 268'435'456);
  EXPECT_EQ(header.shard.key_derivation->salt[15], std::byte{'s'});
  ASSERT_TRUE(header.stored[0].encryption.has_value());
  EXPECT_EQ(header.stored[0].encryption->piece_bytes, 1024);
  EXPECT_THAT(header.stored[0].encryption->tags, SizeIs(3));
}

TEST(TensorsCryptTest, ReadsOnePieceInBothItsForms) {
  CryptText crypt;
  crypt.tag_count = 1;
  crypt.tags = std::string(16, 't');
  ASSERT_OK_AND_ASSIGN(ShardHeader header, ParseTensors(FileOf(crypt)));
  EXPECT_EQ(header.stored[0].encryption->piece_bytes, 3000);
  crypt.type = 3;
  ASSERT_OK_AND_ASSIGN(header, ParseTensors(FileOf(crypt)));
  EXPECT_EQ(header.stored[0].encryption->piece_bytes, 3000);
  EXPECT_THAT(header.stored[0].encryption->tags, SizeIs(1));
}

TEST(TensorsCryptTest, Version4IsEncryptedByItsFlag) {
  const CryptText crypt;
  std::string file = FileText({Encrypted(crypt.Text())}, 4);
  EXPECT_FALSE(ParseTensors(file).ok() && ParseTensors(file)->stored[0].encryption.has_value());
  file[9] = '\x01';
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(file));
  EXPECT_TRUE(header.stored[0].encryption.has_value());
}

TEST(TensorsCryptTest, TensorWithoutDataHasNoChunks) {
  TensorText meta;
  meta.data = "";
  meta.crypt = Le(uint64_t{2}) + Le(uint16_t{0});
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(FileText({meta}, 3)));
  EXPECT_FALSE(header.stored[0].encryption.has_value());
}

TEST(TensorsCryptTest, RefusesWhatTheFormatDoes) {
  const struct {
    std::function<void(CryptText&)> change;
    const char* message;
  } kCases[] = {
      {[](CryptText& crypt) { crypt.has_encryption = false; }, "that is not encrypted"},
      {[](CryptText& crypt) { crypt.surplus = "x"; }, "1 bytes too many"},
      {[](CryptText& crypt) { crypt.type = 4; }, "chunk type 4, wanted 1, 2 or 3"},
      {[](CryptText& crypt) { crypt.piece_bytes = 0; }, "a chunk size of 0 bytes"},
      {[](CryptText& crypt) { crypt.piece_bytes = 960; }, "a chunk size of 960 bytes"},
      {[](CryptText& crypt) { crypt.piece_bytes = 1025; }, "a chunk size of 1025 bytes"},
      {[](CryptText& crypt) { crypt.tag_count = 2; }, "2 tags, wanted 3"},
      {[](CryptText& crypt) { crypt.tag_count = ~uint64_t{0}; }, "wanted 3"},
      {[](CryptText& crypt) { crypt.tags.resize(47); }, "do not fit"},
      {[](CryptText& crypt) { crypt.tags += "x"; }, "1 bytes too many in a chunk"},
      {[](CryptText& crypt) { crypt.method = 2; }, "key derivation method 2"},
      {[](CryptText& crypt) { crypt.algorithm = 1; }, "key derivation algorithm 1"},
      {[](CryptText& crypt) { crypt.salt.resize(15); }, "a salt of 15 bytes"},
      {[](CryptText& crypt) { crypt.operations = 0; }, "wanted at least 1 and 8192"},
      {[](CryptText& crypt) { crypt.memory_bytes = 8191; }, "wanted at least 1 and 8192"},
  };
  for (const auto& bad : kCases) {
    CryptText crypt;
    crypt.has_derivation = true;
    bad.change(crypt);
    const absl::Status status = ParseTensors(FileOf(crypt)).status();
    EXPECT_THAT(status, ReasonIs(Reason::kCheckpointInvalid, HasSubstr(bad.message)));
  }
  const CryptText crypt;
  EXPECT_THAT(ParseTensors(FileText({Encrypted(crypt.Text(2, 1))}, 3)).status(),
              ReasonIs(Reason::kCheckpointInvalid, HasSubstr("two key derivations")));
  EXPECT_THAT(ParseTensors(FileText({Encrypted(crypt.Text(0, 2))}, 3)).status(),
              ReasonIs(Reason::kCheckpointInvalid, HasSubstr("two encryptions")));
  EXPECT_THAT(ParseTensors(FileText({Encrypted("")}, 3)).status(),
              ReasonIs(Reason::kCheckpointInvalid, HasSubstr("crypt block length")));
}

// A file can ask for 4 TiB of memory and hours of work.
TEST(TensorsCryptTest, KeyDerivationHasCeilings) {
  CryptText crypt;
  crypt.has_derivation = true;
  crypt.operations = 17;
  EXPECT_THAT(ParseTensors(FileOf(crypt)).status(),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("wants 17 operations")));
  crypt.operations = 16;
  EXPECT_OK(ParseTensors(FileOf(crypt)));
  crypt.memory_bytes = (uint64_t{1} << 30) + 1;
  EXPECT_THAT(ParseTensors(FileOf(crypt)).status(),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("bytes of memory")));
}

TEST(TensorsCryptTest, FileHasOneKeyDerivation) {
  CryptText crypt;
  crypt.has_derivation = true;
  TensorText first = Encrypted(crypt.Text());
  crypt.salt = std::string(16, 'z');
  TensorText second = Encrypted(crypt.Text());
  second.name = "v";
  EXPECT_THAT(ParseTensors(FileText({first, second}, 3)).status(),
              ReasonIs(Reason::kCheckpointInvalid, HasSubstr("another key derivation")));
}

}  // namespace
}  // namespace weightd::testing
