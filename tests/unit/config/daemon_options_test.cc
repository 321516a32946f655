#include "daemon/config/daemon_options.h"

#include <unistd.h>

#include "daemon/config/config_file.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::StatusIs;

absl::StatusOr<DaemonOptions> Options(const std::string& text) {
  const absl::StatusOr<config::Config> config = ParseConfig("root: \"/m\" " + text, "test");
  if (!config.ok()) return config.status();
  return MakeDaemonOptions(*config);
}

TEST(DaemonOptionsTest, NeedsARoot) {
  EXPECT_THAT(MakeDaemonOptions(config::Config()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--root")));
}

TEST(DaemonOptionsTest, DefaultsLetRootAndOurselvesOperateAndOurGroupAttach) {
  ASSERT_OK_AND_ASSIGN(const DaemonOptions options, Options(""));
  EXPECT_THAT(options.access.operate_uids, Contains(::geteuid()));
  EXPECT_THAT(options.access.operate_uids, Contains(0u));
  EXPECT_THAT(options.access.attach_gids, Contains(::getegid()));
  EXPECT_TRUE(options.access.operate_gids.empty());
  EXPECT_EQ(options.drain_grace, absl::Seconds(5));
  EXPECT_FALSE(options.host_budget_bytes.has_value());
}

TEST(DaemonOptionsTest, GivenListsReplaceTheirDefaults) {
  ASSERT_OK_AND_ASSIGN(const DaemonOptions options,
                       Options("access { attach_uid: 5 operate_gid: 6 }"));
  EXPECT_THAT(options.access.attach_uids, ElementsAre(5u));
  EXPECT_THAT(options.access.operate_gids, ElementsAre(6u));
}

TEST(DaemonOptionsTest, BudgetOfZeroIsKeptApartFromNone) {
  ASSERT_OK_AND_ASSIGN(const DaemonOptions options, Options("host { budget_bytes: 0 }"));
  EXPECT_EQ(options.host_budget_bytes, 0u);
}

// One test at each stated maximum.
struct Limit {
  const char* allowed;
  const char* refused;
};

class DaemonOptionsLimitTest : public ::testing::TestWithParam<Limit> {};

TEST_P(DaemonOptionsLimitTest, StandsAtItsMaximum) {
  EXPECT_OK(Options(GetParam().allowed));
  EXPECT_THAT(Options(GetParam().refused),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::ContainsRegex("is [0-9]+, (wanted|allowed)")));
}

INSTANTIATE_TEST_SUITE_P(
    All, DaemonOptionsLimitTest,
    ::testing::Values(
        Limit{"drain_grace_ms: 600000", "drain_grace_ms: 600001"},
        Limit{"staging { block_bytes: 67108864 }", "staging { block_bytes: 69206016 }"},
        Limit{"staging { block_bytes: 2097152 }", "staging { block_bytes: 3145728 }"},
        Limit{"staging { depth: 1024 }", "staging { depth: 1025 }"},
        Limit{"staging { slot_count: 1024 }", "staging { slot_count: 0 }"},
        Limit{"staging { jobs_max: 16 }", "staging { jobs_max: 17 }"},
        Limit{"staging { queue_max: 4096 }", "staging { queue_max: 4097 }"},
        Limit{"storage { pread_threads: 64 }", "storage { pread_threads: 65 }"},
        Limit{"limits { leases_per_uid_max: 65536 }", "limits { leases_per_uid_max: 65537 }"},
        Limit{"limits { leases_max: 65536 }", "limits { leases_max: 0 }"},
        Limit{"limits { catalog_depth_max: 32 }", "limits { catalog_depth_max: 33 }"},
        Limit{"limits { shards_max: 65536 }", "limits { shards_max: 65537 }"},
        Limit{"limits { tensors_max: 16000000 }", "limits { tensors_max: 16000001 }"}));

}  // namespace
}  // namespace weightd
