#include "daemon/config/settings.h"

#include <set>

#include "gmock/gmock.h"

namespace weightd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(SettingsTest, EverySettingIsVisitedOnceByItsPath) {
  std::set<std::string> paths;
  ForEachSetting([&](const std::string& path, const google::protobuf::FieldDescriptor&) {
    EXPECT_TRUE(paths.insert(path).second) << path;
  });
  EXPECT_THAT(paths, Contains("root"));
  EXPECT_THAT(paths, Contains("storage.engine"));
  EXPECT_THAT(paths, Contains("cuda.gpu"));
  EXPECT_THAT(paths, Not(Contains("storage")));
}

TEST(SettingsTest, SameConfigurationsDifferInNothing) {
  config::Config config;
  config.add_root("/models");
  config.mutable_cuda()->add_gpu()->set_uuid("GPU-1");
  const ChangedSettings changed = CompareSettings(config, config);
  EXPECT_THAT(changed.reloaded, IsEmpty());
  EXPECT_THAT(changed.fixed, IsEmpty());
}

TEST(SettingsTest, ChangesAreSortedByWhetherTheyMayBeMade) {
  config::Config before;
  before.add_root("/models");
  before.mutable_access()->add_attach_uid(1);
  before.mutable_staging()->set_jobs_max(1);
  config::Config after = before;
  after.add_root("/more");
  after.mutable_access()->add_attach_uid(2);
  after.mutable_staging()->clear_jobs_max();
  after.mutable_log()->set_level(config::Log::ERROR);
  after.mutable_cuda()->add_gpu()->set_budget_bytes(1);
  const ChangedSettings changed = CompareSettings(before, after);
  EXPECT_THAT(changed.reloaded, ElementsAre("log.level", "access.attach_uid"));
  EXPECT_THAT(changed.fixed, ElementsAre("root", "staging.jobs_max", "cuda.gpu"));
}

// A group that is there and empty is no change.
TEST(SettingsTest, EmptyGroupIsNoChange) {
  config::Config before;
  config::Config after;
  after.mutable_cuda();
  EXPECT_THAT(CompareSettings(before, after).fixed, IsEmpty());
}

}  // namespace
}  // namespace weightd
