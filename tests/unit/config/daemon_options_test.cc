#include "daemon/config/daemon_options.h"

#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
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

// A variable of the environment for the length of a scope.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    Set(value);
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;
  ~ScopedVariable() { Set(old_.has_value() ? old_->c_str() : nullptr); }

 private:
  void Set(const char* value) const {
    value == nullptr ? (void)::unsetenv(name_) : (void)::setenv(name_, value, 1);
  }
  const char* const name_;
  std::optional<std::string> old_;
};

TEST(DaemonOptionsTest, StateIsKeptWhereSystemdSaysElseWhereTheUserMay) {
  const ScopedVariable home("HOME", "/home/u");
  const ScopedVariable xdg("XDG_STATE_HOME", nullptr);
  {
    const ScopedVariable systemd("STATE_DIRECTORY", "/var/lib/first:/var/lib/second");
    ASSERT_OK_AND_ASSIGN(const DaemonOptions options, Options(""));
    EXPECT_EQ(options.state_file, "/var/lib/first/state.json");
  }
  const ScopedVariable systemd("STATE_DIRECTORY", nullptr);
  ASSERT_OK_AND_ASSIGN(DaemonOptions options, Options(""));
  EXPECT_EQ(options.state_file, ::geteuid() == 0 ? "/var/lib/weightd/state.json"
                                                 : "/home/u/.local/state/weightd/state.json");
  ASSERT_OK_AND_ASSIGN(options, Options(R"(state_file: "")"));
  EXPECT_EQ(options.state_file, "");
  ASSERT_OK_AND_ASSIGN(options, Options(R"(state_file: "/s/t.json")"));
  EXPECT_EQ(options.state_file, "/s/t.json");
}

TEST(DaemonOptionsTest, ChangesAreWatchedAndStagedOnlyOnRequest) {
  ASSERT_OK_AND_ASSIGN(DaemonOptions options, Options(""));
  EXPECT_EQ(options.refresh, RefreshPolicy::kOnRequest);
  ASSERT_OK_AND_ASSIGN(options, Options("catalog { refresh: KEEP_FRESH settle_ms: 5 }"));
  EXPECT_EQ(options.refresh, RefreshPolicy::kKeepFresh);
  EXPECT_EQ(options.catalog_watch.settle, absl::Milliseconds(5));
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
        Limit{"staging { retries_max: 1000 }", "staging { retries_max: 1001 }"},
        Limit{"staging { retry_pause_ms: 1000 }", "staging { retry_pause_ms: 999 }"},
        Limit{"staging { retry_pause_ms: 3600000 }", "staging { retry_pause_ms: 3600001 }"},
        Limit{"storage { pread_threads: 64 }", "storage { pread_threads: 65 }"},
        Limit{"storage { stuck_reads_max: 1024 }", "storage { stuck_reads_max: 1025 }"},
        Limit{"storage { stuck_reads_max: 1 }", "storage { stuck_reads_max: 0 }"},
        Limit{"limits { leases_per_uid_max: 65536 }", "limits { leases_per_uid_max: 65537 }"},
        Limit{"limits { leases_max: 65536 }", "limits { leases_max: 0 }"},
        Limit{"limits { jobs_per_uid_max: 4096 }", "limits { jobs_per_uid_max: 4097 }"},
        Limit{"limits { jobs_per_uid_max: 1 }", "limits { jobs_per_uid_max: 0 }"},
        Limit{"limits { requests_waiting_max: 65536 }", "limits { requests_waiting_max: 65537 }"},
        Limit{"limits { requests_waiting_max: 1 }", "limits { requests_waiting_max: 0 }"},
        Limit{"limits { requests_waiting_per_uid_max: 65536 }",
              "limits { requests_waiting_per_uid_max: 65537 }"},
        Limit{"limits { requests_waiting_per_uid_max: 1 }",
              "limits { requests_waiting_per_uid_max: 0 }"},
        Limit{"limits { connections_per_uid_max: 1048576 }",
              "limits { connections_per_uid_max: 1048577 }"},
        Limit{"limits { connections_max: 1 }", "limits { connections_max: 0 }"},
        Limit{"limits { calls_per_uid_max: 1048576 }", "limits { calls_per_uid_max: 1048577 }"},
        Limit{"limits { calls_max: 1 }", "limits { calls_max: 0 }"},
        Limit{"limits { waiting_attaches_per_uid_max: 1 }",
              "limits { waiting_attaches_per_uid_max: 0 }"},
        Limit{"limits { waiting_attaches_max: 1048576 }",
              "limits { waiting_attaches_max: 1048577 }"},
        Limit{"limits { watchers_per_uid_max: 65536 }", "limits { watchers_per_uid_max: 65537 }"},
        Limit{"limits { watchers_max: 1 }", "limits { watchers_max: 0 }"},
        Limit{"limits { queued_bytes_per_uid_max: 1048576 }",
              "limits { queued_bytes_per_uid_max: 1048575 }"},
        Limit{"limits { queued_bytes_max: 1099511627776 }",
              "limits { queued_bytes_max: 1099511627777 }"},
        Limit{"limits { tensor_tables_bytes_max: 1099511627776 }",
              "limits { tensor_tables_bytes_max: 1099511627777 }"},
        Limit{"limits { operator_reserve_percent: 90 }", "limits { operator_reserve_percent: 91 }"},
        Limit{"catalog { scan_interval_ms: 1000 }", "catalog { scan_interval_ms: 999 }"},
        Limit{"catalog { scan_interval_ms: 86400000 }", "catalog { scan_interval_ms: 86400001 }"},
        Limit{"catalog { settle_ms: 600000 }", "catalog { settle_ms: 600001 }"},
        Limit{"limits { catalog_depth_max: 32 }", "limits { catalog_depth_max: 33 }"},
        Limit{"limits { catalog_entries_max: 10000000 }",
              "limits { catalog_entries_max: 10000001 }"},
        Limit{"limits { catalog_entries_max: 1 }", "limits { catalog_entries_max: 0 }"},
        Limit{"storage { volume_threads: 64 }", "storage { volume_threads: 65 }"},
        Limit{"storage { volume_queue_max: 65536 }", "storage { volume_queue_max: 65537 }"},
        Limit{"limits { shards_max: 65536 }", "limits { shards_max: 65537 }"},
        Limit{"limits { tensors_max: 16000000 }", "limits { tensors_max: 16000001 }"}));

TEST(DaemonOptionsTest, PreloadsHaveABound) {
  std::string config;
  for (size_t i = 0; i < kPreloadsMax; ++i) config += absl::StrCat("preload: \"m", i, "\"\n");
  EXPECT_OK(Options(config.c_str()));
  config += "preload: \"one more\"";
  EXPECT_THAT(Options(config.c_str()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::HasSubstr("models in preload is 4097, allowed 4096")));
}

}  // namespace
}  // namespace weightd
