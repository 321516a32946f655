#include <string>

#include "daemon/format/tensors_writer.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_tensors.h"

// The worked examples of formats.md 1.14, byte by byte.

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

const std::string kIndexStart =
    Hex("01 00 77 02 03 3c 66 34 01 02 00 00 00 49 00 04 00 00 00 00 00"
        "93 00 04 00 00 00 00 00 08 00 00 00 00 00 00 00");
const std::string kHeaderOfW =
    Hex("4a 00 00 00 00 00 00 00 00 00 02 01 00 77 03 3c 66 34 01 02 00 00 00 29 00 02"
        "00 04 eb a2 cc 8e 01 20 15 14 0f 84 51 43 62 e3 35 97 9b 22 d2 a4 16 e2 d3 fb e1 97 7a 60 "
        "69 c0"
        "0f 0e 1f 05 9d 30 e8 f2 08 00 00 00 00 00 00 00");

std::string FileOfW() {
  std::string file = Hex("7c 54 5a 52 7c 01 00 00 00") + std::string(32, '\0') +
                     Hex("08 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
                         "01 00 00 00 00 00 00 00 00 00 04 00 00 00 00 00");
  file += kIndexStart;
  file.resize(0x40049, '\0');
  return file + kHeaderOfW + Hex("00 00 80 3f 00 00 00 c0 00 00 00 00 00 00 00 00");
}

TEST(TensorsExampleTest, OneStateDictEntry) {
  const std::string file = FileOfW();
  ASSERT_THAT(file, SizeIs(262'307));
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(file));
  EXPECT_EQ(header.shard.format, FileFormat::kTensors);
  EXPECT_FALSE(header.shard.is_encrypted);
  EXPECT_EQ(header.shard.data_offset, 0x40093);
  EXPECT_EQ(header.shard.data_bytes, 8);
  ASSERT_THAT(header.tensors, SizeIs(1));
  const TensorEntry& w = header.tensors[0];
  EXPECT_EQ(w.name, "w");
  EXPECT_EQ(w.dtype, Dtype::kF32);
  EXPECT_THAT(w.shape, ElementsAre(2));
  EXPECT_EQ(w.offset, 0);
  EXPECT_EQ(w.bytes, 8);
  ASSERT_THAT(header.stored, SizeIs(1));
  const StoredTensor& stored = header.stored[0];
  EXPECT_EQ(stored.kind, TensorKind::kStateDictEntry);
  EXPECT_EQ(stored.hashes.crc32, 0x8ecca2eb);
  ASSERT_TRUE(stored.hashes.sha256.has_value());
  EXPECT_EQ(stored.hashes.sha256->front(), std::byte{0x15});
  EXPECT_EQ(stored.hashes.sha256->back(), std::byte{0xf2});
}

// What the hashes cover: the header with their values zero.
TEST(TensorsExampleTest, HashedHeaderHasZerosForItsHashes) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(FileOfW()));
  const StoredHashes& hashes = header.stored[0].hashes;
  std::string wanted = kHeaderOfW;
  wanted.replace(0x65 - 0x49, 4, 4, '\0');
  wanted.replace(0x6b - 0x49, 32, 32, '\0');
  EXPECT_EQ(hashes.header + std::string(hashes.header_zeros, '\0') + wanted.substr(74 - 8), wanted);
}

TEST(TensorsExampleTest, WriterWritesTheSame) {
  const TensorToWrite w = {.name = "w", .dtype = Dtype::kF32, .torch_dtype = "", .shape = {2}};
  ASSERT_OK_AND_ASSIGN(const TensorsPlan plan, PlanTensorsFile({w}, 1));
  const std::string file = FileOfW();
  EXPECT_EQ(plan.beginning, file.substr(0, 0x40049));
  EXPECT_EQ(plan.file_bytes(), file.size());
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(file));
  EXPECT_EQ(TensorHeaderText(w, plan.places[0], header.stored[0].hashes), kHeaderOfW);
}

TEST(TensorsExampleTest, OpaqueDtype) {
  const std::string header =
      Hex("59 00 00 00 00 00 00 00 00 00 02 01 00 68 12 3c 56 32 00 74 6f 72 63 68 2e 62 66 6c 6f "
          "61"
          "74 31 36 01 03 00 00 00 29 00 02 00 04 7e b4 4a 38 01 20 31 30 49 b4") +
      std::string(28, '\x11') + Hex("06 00 00 00 00 00 00 00");
  ASSERT_THAT(header, SizeIs(89));
  ASSERT_OK_AND_ASSIGN(const TensorsHeader h,
                       ParseTensorsHeader(AsBytes(header), 100, false, 1000, kTensorsPath));
  EXPECT_EQ(h.name.text, "h");
  EXPECT_EQ(h.dtype.dtype, Dtype::kBf16);
  EXPECT_EQ(h.dtype.torch_name, "");
  EXPECT_EQ(h.data_offset(), 189);
  EXPECT_EQ(h.data_bytes, 6);
  EXPECT_EQ(h.stored.hashes.crc32, 0x384ab47e);
}

TEST(TensorsExampleTest, Encrypted) {
  const std::string header =
      Hex("90 00 00 00 00 00 00 00 00 00 02 01 00 77 03 3c 66 34 01 02 00 00 00"
          "23 00 01 01 20 a0 ef ab ae") +
      std::string(26, '\x22') +
      Hex("2b d4 44 00 00 00 00 00 00 00 01 00 3a 00 00 00 00 00 00 00 02 00 00 00 20 00 00 00 00 "
          "00"
          "52 bc 1f 32 0a 4a 58 70 b5 be be 37 fd 2b 90 1e 15 81 40 74 be dc d9 56"
          "01 00 00 00 00 00 00 00 9b fd 9a d1 54 ca 6f f4 e6 74 de 73 95 ff d0 bd"
          "08 00 00 00 00 00 00 00");
  ASSERT_THAT(header, SizeIs(144));
  ASSERT_OK_AND_ASSIGN(const TensorsHeader h,
                       ParseTensorsHeader(AsBytes(header), 100, true, 1000, kTensorsPath));
  EXPECT_FALSE(h.key_derivation.has_value());
  EXPECT_FALSE(h.stored.hashes.crc32.has_value());
  ASSERT_TRUE(h.stored.encryption.has_value());
  // One tag is for the whole tensor, whatever the chunk size says.
  EXPECT_EQ(h.stored.encryption->piece_bytes, 8);
  EXPECT_EQ(h.stored.encryption->nonce.front(), std::byte{0x52});
  ASSERT_THAT(h.stored.encryption->tags, SizeIs(1));
  EXPECT_EQ(h.stored.encryption->tags[0].back(), std::byte{0xbd});
  // The hashes leave the crypt block out.
  EXPECT_EQ(h.stored.hashes.header.size() + h.stored.hashes.header_zeros, 144 - 8 - (8 + 68));
}

TEST(TensorsExampleTest, MetaTensorIsZerosInMemoryAndNothingInTheFile) {
  TensorText meta;
  meta.name = "m";
  meta.shape = {2, 3};
  meta.data = "";
  ASSERT_THAT(meta.Header(), SizeIs(78));
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(FileText({meta, TensorText()}, 4)));
  ASSERT_THAT(header.tensors, SizeIs(2));
  EXPECT_TRUE(header.tensors[0].is_meta);
  EXPECT_EQ(header.tensors[0].bytes, 24);
  EXPECT_EQ(header.tensors[0].file_bytes(), 0);
  EXPECT_FALSE(header.tensors[1].is_meta);
}

}  // namespace
}  // namespace weightd::testing
