#include "daemon/service/manifest_cache.h"

#include <memory>
#include <string>

#include "gtest/gtest.h"

namespace weightd {
namespace {

ManifestCache::Entry MakeEntry() { return SortByName(std::make_shared<const Manifest>()); }

Checkpoint Of(const std::string& model, uint64_t inode) {
  Checkpoint checkpoint;
  checkpoint.model = model;
  checkpoint.shard_paths = {model + "/model.safetensors"};
  checkpoint.identities = {{.inode = inode}};
  return checkpoint;
}

class ManifestCacheTest : public ::testing::Test {
 protected:
  const absl::Time now_ = absl::UnixEpoch();
  ManifestCache cache_;
};

TEST_F(ManifestCacheTest, FindsAManifestOfTheSameFilesAlone) {
  const ManifestCache::Entry entry = MakeEntry();
  cache_.Keep(entry, Of("m", 1), now_);
  EXPECT_EQ(cache_.Find(Of("m", 1), now_), entry);
  EXPECT_EQ(cache_.Find(Of("m", 2), now_), nullptr);
  EXPECT_EQ(cache_.Find(Of("n", 1), now_), nullptr);
  EXPECT_EQ(cache_.Find(entry->manifest, now_), entry);
}

TEST_F(ManifestCacheTest, KeepsTheLastFour) {
  for (uint64_t i = 0; i < 4; ++i) {
    cache_.Keep(MakeEntry(), Of("m", i), now_ + absl::Seconds(i));
  }
  EXPECT_NE(cache_.Find(Of("m", 0), now_ + absl::Seconds(9)), nullptr);  // used now
  cache_.Keep(MakeEntry(), Of("m", 4), now_ + absl::Seconds(10));
  EXPECT_NE(cache_.Find(Of("m", 0), now_), nullptr);
  EXPECT_EQ(cache_.Find(Of("m", 1), now_), nullptr);
}

TEST_F(ManifestCacheTest, ForgetsWhatNobodyUses) {
  EXPECT_EQ(cache_.next_old(), absl::InfiniteFuture());
  cache_.Keep(MakeEntry(), Of("m", 1), now_);
  const absl::Time old = cache_.next_old();
  EXPECT_TRUE(cache_.TakeOld(old - absl::Milliseconds(1)).empty());
  EXPECT_EQ(cache_.TakeOld(old).size(), 1u);
  EXPECT_EQ(cache_.Find(Of("m", 1), old), nullptr);
}

}  // namespace
}  // namespace weightd
