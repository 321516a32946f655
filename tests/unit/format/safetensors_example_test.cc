#include <cstddef>
#include <string>

#include "absl/strings/escaping.h"
#include "daemon/format/safetensors.h"
#include "tests/support/common/status_matchers.h"

// The files of shared/formats.md 2.7, byte for byte.

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

absl::Span<const std::byte> Bytes(absl::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

absl::StatusOr<ShardHeader> ParseFile(absl::string_view file) {
  const auto header_bytes =
      ParseSafetensorsPrefix(Bytes(file.substr(0, 8)), file.size(), "example.safetensors");
  if (!header_bytes.ok()) return header_bytes.status();
  return ParseSafetensorsHeader(std::string(file.substr(8, *header_bytes)), file.size(),
                                "example.safetensors");
}

TEST(SafetensorsExampleTest, ReadsTheWorkedExample) {
  const std::string file =
      absl::HexStringToBytes("9000000000000000") +
      R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("h":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}}    )" +
      absl::HexStringToBytes("0000803f000000c0803f00c0003f");
  ASSERT_EQ(file.size(), 166u);
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseFile(file));
  EXPECT_EQ(header.shard.path, "example.safetensors");
  EXPECT_EQ(header.shard.file_bytes, 166u);
  EXPECT_EQ(header.shard.data_offset, 0x98u);
  EXPECT_EQ(header.shard.data_bytes, 14u);
  EXPECT_THAT(header.metadata, ElementsAre(Pair("format", "pt")));
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, "w");
  EXPECT_EQ(header.tensors[0].dtype, Dtype::kF32);
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(2));
  EXPECT_EQ(header.tensors[0].offset, 0u);
  EXPECT_EQ(header.tensors[0].bytes, 8u);
  EXPECT_EQ(header.tensors[1].name, "h");
  EXPECT_EQ(header.tensors[1].dtype, Dtype::kBf16);
  EXPECT_THAT(header.tensors[1].shape, ElementsAre(3));
  EXPECT_EQ(header.tensors[1].offset, 8u);
  EXPECT_EQ(header.tensors[1].bytes, 6u);
}

TEST(SafetensorsExampleTest, ReadsTheSmallestValidFile) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader header,
                       ParseFile(absl::HexStringToBytes("02000000000000007b7d")));
  EXPECT_TRUE(header.tensors.empty());
  EXPECT_EQ(header.shard.data_bytes, 0u);
}

}  // namespace
}  // namespace weightd::testing
