#include "daemon/service/uid_limits.h"

#include <string>
#include <vector>

#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::ReasonIs;

constexpr uint64_t kManyDescriptors = 1 << 20;
constexpr UidLimits::Taker kOne = {.uid = 1001, .operates = false};
constexpr UidLimits::Taker kOther = {.uid = 1002, .operates = false};
constexpr UidLimits::Taker kRoot = {.uid = 0, .operates = true};

UidLimitOptions OptionsWith(UidLimit watchers) {
  UidLimitOptions options;
  options.watchers = watchers;
  return options;
}

TEST(UidLimitsTest, TakesUpToTheLimitOfAUidAndGivesBack) {
  UidLimits limits(OptionsWith({.per_uid_max = 2, .max = 100}), kManyDescriptors);
  ASSERT_OK_AND_ASSIGN(Share first, limits.Take(Cost::kWatchers, kOne));
  ASSERT_OK_AND_ASSIGN(const Share second, limits.Take(Cost::kWatchers, kOne));
  EXPECT_THAT(
      limits.Take(Cost::kWatchers, kOne),
      ReasonIs(Reason::kLimitExceeded, AllOf(HasSubstr("uid 1001 has 2 watchers of at most 2"),
                                             HasSubstr("limits.watchers_per_uid_max"))));
  EXPECT_OK(limits.Take(Cost::kWatchers, kOther));  // and gives it back at once
  EXPECT_OK(limits.Take(Cost::kCalls, kOne));       // costs are counted apart
  first.Release();
  first.Release();  // twice is fine
  EXPECT_OK(limits.Take(Cost::kWatchers, kOne));
  EXPECT_EQ(limits.taken(Cost::kWatchers), 1);
  EXPECT_EQ(limits.taken(Cost::kWatchers, kOne.uid), 1);
  EXPECT_EQ(limits.taken(Cost::kWatchers, kOther.uid), 0);
  EXPECT_EQ(limits.refusals(Cost::kWatchers), 1);
}

TEST(UidLimitsTest, KeepsAPartForWhoMayOperate) {
  UidLimitOptions options = OptionsWith({.per_uid_max = 10, .max = 10});
  options.operator_reserve_percent = 20;
  UidLimits limits(options, kManyDescriptors);
  ASSERT_OK_AND_ASSIGN(const Share most, limits.Take(Cost::kWatchers, kOne, 8));
  EXPECT_THAT(limits.Take(Cost::kWatchers, kOther),
              ReasonIs(Reason::kLimitExceeded,
                       AllOf(HasSubstr("all uids have 8 watchers of at most 8"),
                             HasSubstr("limits.watchers_max"), HasSubstr("may operate, 2"))));
  ASSERT_OK_AND_ASSIGN(const Share rest, limits.Take(Cost::kWatchers, kRoot, 2));
  EXPECT_THAT(limits.Take(Cost::kWatchers, kRoot),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("all uids have 10 watchers")));
}

TEST(UidLimitsTest, KeepsOneOfFewAndNoneOfOne) {
  UidLimits few(OptionsWith({.per_uid_max = 2, .max = 2}), kManyDescriptors);
  ASSERT_OK_AND_ASSIGN(const Share only, few.Take(Cost::kWatchers, kOne));
  EXPECT_THAT(few.Fits(Cost::kWatchers, kOther), ReasonIs(Reason::kLimitExceeded, HasSubstr("1")));
  EXPECT_OK(few.Fits(Cost::kWatchers, kRoot));
  UidLimits one(OptionsWith({.per_uid_max = 1, .max = 1}), kManyDescriptors);
  EXPECT_OK(one.Fits(Cost::kWatchers, kOne));
}

TEST(UidLimitsTest, ASharesAmountGrowsAndShrinks) {
  UidLimitOptions options;
  options.queued_bytes = {.per_uid_max = 1000, .max = 2000};
  UidLimits limits(options, kManyDescriptors);
  ASSERT_OK_AND_ASSIGN(Share share, limits.Take(Cost::kQueuedBytes, kOne, 0));
  EXPECT_OK(share.Grow(1000));
  EXPECT_THAT(share.Grow(1), ReasonIs(Reason::kLimitExceeded, HasSubstr("queued_bytes")));
  share.Shrink(400);
  EXPECT_EQ(limits.taken(Cost::kQueuedBytes), 600);
  EXPECT_OK(share.Grow(400));
  share.Shrink(5000);  // no more than it has
  EXPECT_EQ(limits.taken(Cost::kQueuedBytes), 0);
  EXPECT_THAT(share.Grow(UINT64_MAX), ReasonIs(Reason::kLimitExceeded, HasSubstr("of at most")));
}

TEST(UidLimitsTest, AMovedShareIsGivenBackOnce) {
  UidLimits limits({}, kManyDescriptors);
  {
    ASSERT_OK_AND_ASSIGN(Share share, limits.Take(Cost::kCalls, kOne));
    Share moved(std::move(share));
    std::vector<Share> kept;
    kept.push_back(std::move(moved));
    EXPECT_EQ(limits.taken(Cost::kCalls), 1);
  }
  EXPECT_EQ(limits.taken(Cost::kCalls), 0);
}

TEST(UidLimitsTest, WhoHasMoreThanNewLimitsAllowKeepsIt) {
  UidLimits limits(OptionsWith({.per_uid_max = 4, .max = 100}), kManyDescriptors);
  ASSERT_OK_AND_ASSIGN(Share share, limits.Take(Cost::kWatchers, kOne, 4));
  limits.Set(OptionsWith({.per_uid_max = 2, .max = 100}));
  EXPECT_EQ(limits.taken(Cost::kWatchers), 4);
  EXPECT_THAT(limits.Take(Cost::kWatchers, kOne), ReasonIs(Reason::kLimitExceeded, HasSubstr("4")));
  share.Shrink(3);
  EXPECT_OK(limits.Take(Cost::kWatchers, kOne));
}

TEST(UidLimitsTest, ConnectionsLeaveDescriptorsForTheDaemon) {
  UidLimitOptions options;
  options.connections = {.per_uid_max = 600, .max = 1000};
  options.operator_reserve_percent = 0;
  UidLimits enough(options, 8000);
  EXPECT_OK(enough.Take(Cost::kConnections, kOne, 600));
  UidLimits short_of(options, 1024);
  EXPECT_OK(short_of.Take(Cost::kConnections, kOne, 64));
  EXPECT_THAT(short_of.Take(Cost::kConnections, kOne, 65),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("64")));
  short_of.Set(options);
  EXPECT_THAT(short_of.Take(Cost::kConnections, kOne, 65),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("64")));
  UidLimits none(options, 0);
  EXPECT_OK(none.Take(Cost::kConnections, kOne));
}

}  // namespace
}  // namespace weightd
