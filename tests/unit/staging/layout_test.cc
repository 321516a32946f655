#include "daemon/staging/layout.h"

#include <algorithm>
#include <utility>

#include "common/align.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/staging/test_manifest.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kHost = LayoutTarget::kHostMemory;
constexpr auto kDevice = LayoutTarget::kDeviceMemory;

TEST(LayoutTest, HostSectionIsCongruentToItsFileOffset) {
  Manifest manifest;
  AddShard(manifest, 5 * kKiB + 8, {{Dtype::kF32, 100}, {Dtype::kF32, 60}});
  ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, kHost));
  ASSERT_THAT(layout.shards, SizeIs(1));
  EXPECT_TRUE(layout.shards[0].congruent);
  EXPECT_EQ(layout.shards[0].section_offset, kKiB + 8);
  EXPECT_THAT(layout.tensor_offsets, ElementsAre(kKiB + 8, kKiB + 108));
  EXPECT_THAT(layout.moves, IsEmpty());
  // The tail of a direct read has room.
  EXPECT_EQ(layout.allocation_bytes, kCongruenceModulus);
}

TEST(LayoutTest, DeviceSectionBeginsOnABoundary) {
  Manifest manifest;
  AddShard(manifest, 1003, {{Dtype::kF32, 100}, {Dtype::kF32, 60}});
  AddShard(manifest, 1003, {{Dtype::kF64, 8}});
  ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, kDevice));
  EXPECT_FALSE(layout.shards[0].congruent);
  EXPECT_EQ(layout.shards[0].section_offset, 0);
  EXPECT_EQ(layout.shards[1].section_offset, kSectionAlignment);
  EXPECT_THAT(layout.tensor_offsets, ElementsAre(0, 100, kSectionAlignment));
  EXPECT_EQ(layout.allocation_bytes, kSectionAlignment + 8);
}

// A header of odd length would leave every tensor of the file misaligned in place.
TEST(LayoutTest, HostSectionIsCopiedWhereTheHeaderMisalignsIt) {
  Manifest manifest;
  AddShard(manifest, 1003, {{Dtype::kF32, 100}});
  ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, kHost));
  EXPECT_FALSE(layout.shards[0].congruent);
  EXPECT_EQ(layout.shards[0].section_offset, 0);
  EXPECT_THAT(layout.moves, IsEmpty());
}

TEST(LayoutTest, OddHeaderOfBytesStaysCongruent) {
  Manifest manifest;
  AddShard(manifest, 1003, {{Dtype::kU8, 100}});
  ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, kHost));
  EXPECT_TRUE(layout.shards[0].congruent);
}

TEST(LayoutTest, MisalignedTensorIsMovedBehindTheSections) {
  Manifest manifest;
  AddShard(manifest, 4096, {{Dtype::kU8, 3}, {Dtype::kF32, 8}, {Dtype::kU8, 1}});
  AddShard(manifest, 4096, {{Dtype::kU8, 10}});
  ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, kHost));
  ASSERT_THAT(layout.moves, SizeIs(1));
  const TensorMove& move = layout.moves[0];
  EXPECT_EQ(move.tensor_index, 1);
  EXPECT_EQ(move.from, 3);
  EXPECT_EQ(move.to, 8192);
  EXPECT_EQ(move.bytes, 8);
  EXPECT_THAT(layout.tensor_offsets, ElementsAre(0, 8192, 11, 4096));
  EXPECT_EQ(layout.allocation_bytes, 8200);
}

TEST(LayoutTest, EmptyTensorIsNeverMoved) {
  Manifest manifest;
  AddShard(manifest, 4096, {{Dtype::kU8, 3}, {Dtype::kF64, 0}});
  ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, kDevice));
  EXPECT_THAT(layout.moves, IsEmpty());
  EXPECT_THAT(layout.tensor_offsets, ElementsAre(0, 3));
}

TEST(LayoutTest, AllocationOfNothingHasOneByte) {
  ASSERT_OK_AND_ASSIGN(const Layout none, PlanLayout(Manifest(), kHost));
  EXPECT_EQ(none.allocation_bytes, 1);
  Manifest manifest;
  AddShard(manifest, 4096, {});
  AddShard(manifest, 4096, {{Dtype::kF32, 0}});
  ASSERT_OK_AND_ASSIGN(const Layout empty, PlanLayout(manifest, kDevice));
  EXPECT_EQ(empty.allocation_bytes, 1);
}

TEST(LayoutTest, RefusesSizesThatOverflow) {
  Manifest one;
  AddShard(one, 8, {{Dtype::kU8, (uint64_t{1} << 62) + 1}});
  EXPECT_THAT(PlanLayout(one, kHost), ReasonIs(Reason::kBudgetExceeded, _));
  for (const LayoutTarget target : {kHost, kDevice}) {
    Manifest two;
    AddShard(two, 8, {{Dtype::kU8, uint64_t{1} << 61}});
    AddShard(two, 8, {{Dtype::kU8, (uint64_t{1} << 61) + 4096}});
    EXPECT_THAT(PlanLayout(two, target), ReasonIs(Reason::kBudgetExceeded, _));
  }
  Manifest moved;
  AddShard(moved, 4096, {{Dtype::kU8, 1}, {Dtype::kF32, uint64_t{3} << 60}});
  EXPECT_THAT(PlanLayout(moved, kDevice), ReasonIs(Reason::kBudgetExceeded, _));
}

// A .tensors file whose headers leave its data anywhere.
TEST(LayoutTest, TensorsFileIsScattered) {
  Manifest manifest;
  AddTensorsShard(manifest, 1000, 110, {{Dtype::kF32, 100}, {Dtype::kF32, 0}, {Dtype::kU8, 300}});
  for (const LayoutTarget target : {kHost, kDevice}) {
    ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, target));
    EXPECT_TRUE(layout.shards[0].scattered);
    EXPECT_FALSE(layout.shards[0].congruent);
    EXPECT_THAT(layout.tensor_offsets, ElementsAre(0, 256, 256));
    EXPECT_EQ(layout.allocation_bytes, 556);
    EXPECT_THAT(layout.moves, IsEmpty());
  }
}

// Written by weightctl tensorize: the headers, padded, are copied along.
TEST(LayoutTest, TensorsFileWithAlignedDataIsOneSection) {
  Manifest manifest;
  AddTensorsShard(manifest, 1024, 256, {{Dtype::kF32, 8192}, {Dtype::kU8, 4096}});
  ASSERT_OK_AND_ASSIGN(Layout layout, PlanLayout(manifest, kHost));
  EXPECT_FALSE(layout.shards[0].scattered);
  EXPECT_TRUE(layout.shards[0].congruent);
  EXPECT_THAT(layout.tensor_offsets, ElementsAre(1024, 1024 + 8192 + 256));
  ASSERT_OK_AND_ASSIGN(layout, PlanLayout(manifest, kDevice));
  EXPECT_FALSE(layout.shards[0].scattered);
  EXPECT_THAT(layout.tensor_offsets, ElementsAre(0, 8192 + 256));
}

// Mostly headers: not worth the memory.
TEST(LayoutTest, AlignedTensorsFileOfSmallTensorsIsScattered) {
  Manifest manifest;
  AddTensorsShard(manifest, 1024, 256, {{Dtype::kF32, 256}, {Dtype::kF32, 256}});
  ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, kHost));
  EXPECT_TRUE(layout.shards[0].scattered);
}

TEST(LayoutTest, MetaTensorsAreZerosBehindTheRest) {
  Manifest manifest;
  AddTensorsShard(manifest, 1000, 110, {{Dtype::kU8, 100}, {Dtype::kU8, 10}});
  manifest.tensors[0].is_meta = true;
  ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, kDevice));
  ASSERT_THAT(layout.zeros, SizeIs(1));
  EXPECT_EQ(layout.zeros[0].offset, layout.tensor_offsets[0]);
  EXPECT_EQ(layout.zeros[0].bytes, 100);
  EXPECT_EQ(layout.tensor_offsets[1], 256);
}

// The ranges that a layout gives out, with what a direct read writes around a congruent section.
std::vector<std::pair<uint64_t, uint64_t>> Ranges(const Manifest& manifest, const Layout& layout) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    const ShardPlacement& placement = layout.shards[i];
    const uint64_t end = placement.section_offset + manifest.shards[i].data_bytes;
    if (manifest.shards[i].data_bytes == 0 || placement.scattered) continue;
    ranges.emplace_back(placement.congruent
                            ? AlignDown(placement.section_offset, kCongruenceModulus)
                            : placement.section_offset,
                        placement.congruent ? AlignUp(end, kCongruenceModulus) : end);
  }
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest.tensors[i];
    if (!tensor.is_meta && !layout.shards[tensor.shard_index].scattered) continue;
    if (tensor.bytes == 0) continue;
    ranges.emplace_back(layout.tensor_offsets[i], layout.tensor_offsets[i] + tensor.bytes);
  }
  for (const TensorMove& move : layout.moves) ranges.emplace_back(move.to, move.to + move.bytes);
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

TEST(LayoutTest, RandomManifestsAreAlignedAndDoNotOverlap) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    const Manifest manifest = RandomManifest(random, 40'000);
    const LayoutTarget target = round % 2 == 0 ? kHost : kDevice;
    ASSERT_OK_AND_ASSIGN(const Layout layout, PlanLayout(manifest, target));
    uint64_t end = 0;
    for (const auto& [from, to] : Ranges(manifest, layout)) {
      ASSERT_GE(from, end) << "round " << round;
      end = to;
    }
    ASSERT_LE(end, layout.allocation_bytes);
    for (size_t i = 0; i < manifest.tensors.size(); ++i) {
      const TensorEntry& tensor = manifest.tensors[i];
      ASSERT_LE(layout.tensor_offsets[i] + tensor.bytes, layout.allocation_bytes);
      if (tensor.bytes == 0) continue;
      ASSERT_TRUE(IsAligned(layout.tensor_offsets[i], DtypeAlignment(tensor.dtype)));
    }
    for (size_t i = 0; i < manifest.shards.size(); ++i) {
      const ShardPlacement& placement = layout.shards[i];
      if (placement.scattered) continue;
      ASSERT_EQ(placement.section_offset % (placement.congruent ? 4096 : 512),
                placement.congruent ? manifest.shards[i].data_offset % 4096 : 0);
    }
  }
}

}  // namespace
}  // namespace weightd::testing
