// Leases that are granted while something else happens.

#include <atomic>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/lease/lease_world.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::StartsWith;

// The new generation is published after the old one was acquired and before its lease is in the
// table: the publisher finds nobody to tell.
TEST(LeaseRaceTest, GenerationPublishedInTheMiddleOfAGrantIsTold) {
  LeaseWorld world(DeviceKind::kCuda);
  const GenerationId old = world.Stage("a");
  GenerationId newer;
  world.device().OnExport([&] {
    newer = world.Stage("a", /*restage=*/true);
    return absl::OkStatus();
  });
  ASSERT_OK_AND_ASSIGN(const Grant grant, world.leases().GrantLease(world.Request("a")));
  EXPECT_EQ(grant.content->id, old);
  EXPECT_THAT(world.notices().lines(), ElementsAre(absl::StrCat("superseded ", newer.value())));
}

TEST(LeaseRaceTest, DrainInTheMiddleOfAGrantRefusesIt) {
  LeaseWorld world(DeviceKind::kCuda);
  world.Stage("a");
  world.device().OnExport([&] {
    world.leases().NotifyDraining(absl::InfiniteFuture());
    return absl::OkStatus();
  });
  EXPECT_THAT(world.leases().GrantLease(world.Request("a")), ReasonIs(Reason::kDraining, _));
  EXPECT_EQ(world.lease_count("a"), 0);
}

// Evicted by force after it was acquired and before its lease is in the table: nobody would ever
// revoke it.
TEST(LeaseRaceTest, EvictionByForceInTheMiddleOfAGrantRefusesIt) {
  LeaseWorld world(DeviceKind::kCuda);
  world.Stage("a");
  world.device().OnExport([&] {
    const auto evicted = world.residency().Evict("a", "", /*force=*/true);
    EXPECT_OK(evicted);
    EXPECT_EQ(world.leases().Revoke(evicted->revoking), 0);
    return absl::OkStatus();
  });
  EXPECT_THAT(world.leases().GrantLease(world.Request("a")), ReasonIs(Reason::kModelBusy, _));
  EXPECT_EQ(world.leases().count(), 0);
}

TEST(LeaseRaceTest, LimitHoldsForGrantsInParallel) {
  LeaseWorld world(DeviceKind::kCuda, {.leases_per_uid_max = 1, .leases_max = 10});
  world.Stage("a");
  absl::StatusOr<Grant> inner;
  world.device().OnExport([&] {
    world.device().OnExport(nullptr);
    inner = world.leases().GrantLease(world.Request("a"));
    return absl::OkStatus();
  });
  EXPECT_THAT(world.leases().GrantLease(world.Request("a")), ReasonIs(Reason::kLimitExceeded, _));
  EXPECT_OK(inner);
  EXPECT_EQ(world.lease_count("a"), 1);
}

// Whoever reads the events never sees memory go that somebody still has.
TEST(LeaseRaceTest, LeaseEndsBeforeItsCopyIsEvicted) {
  LeaseWorld world(DeviceKind::kHost);
  world.Stage("a");
  ASSERT_OK_AND_ASSIGN(Grant grant, world.leases().GrantLease(world.Request("a")));
  world.Stage("a", /*restage=*/true);
  world.TakeEvents();
  const LeaseId lease = grant.lease;
  grant = Grant();
  world.leases().End(lease, "done");
  EXPECT_THAT(world.AwaitEvents(2), ElementsAre("lease_ended a done", StartsWith("evicted a")));
}

// No lock is held while a holder is told: it may ask, and may end its lease.
TEST(LeaseRaceTest, HolderMayCallBackWhenItIsTold) {
  LeaseWorld world(DeviceKind::kHost);
  world.Stage("a");
  LeaseRequest request = world.Request("a");
  LeaseId id;
  size_t held = 0;
  int told = 0;
  request.on_notice = [&](const LeaseNotice&) {
    ++told;
    held = world.leases().List("a").size();
    world.leases().End(id, "done");
  };
  ASSERT_OK_AND_ASSIGN(const Grant grant, world.leases().GrantLease(request));
  id = grant.lease;
  world.leases().NotifyDraining(absl::InfiniteFuture());
  EXPECT_EQ(held, 1);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(world.leases().count(), 0);
}

// A holder goes when End() has returned, whoever is about to tell it something.
TEST(LeaseRaceTest, NobodyIsToldAfterItsEnd) {
  LeaseWorld world(DeviceKind::kHost);
  for (int round = 0; round < 50; ++round) {
    world.Stage("a");
    auto is_there = std::make_unique<std::atomic<bool>>(true);
    LeaseRequest request = world.Request("a");
    request.on_notice = [&](const LeaseNotice&) { EXPECT_TRUE(*is_there); };
    ASSERT_OK_AND_ASSIGN(const Grant grant, world.leases().GrantLease(request));
    ASSERT_OK_AND_ASSIGN(const Residency::Evicted evicted,
                         world.residency().Evict("a", "", /*force=*/true));
    std::thread revoker([&] {
      world.leases().NotifyRevoking(evicted.revoking, absl::InfiniteFuture());
      world.leases().Revoke(evicted.revoking);
    });
    world.leases().End(grant.lease, "left");
    is_there.reset();
    revoker.join();
    EXPECT_TRUE(world.residency().AwaitGone(evicted.revoking, absl::InfiniteFuture()));
  }
}

// Grants, ends and new generations from several threads: in the end nothing is held, and one
// generation is left.
TEST(LeaseRaceTest, GrantsEndsAndGenerationsInParallel) {
  LeaseWorld world(DeviceKind::kHost);
  world.Stage("a");
  std::vector<std::thread> clients;
  clients.reserve(3);
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&world, i] {
      for (int n = 0; n < 50; ++n) {
        const LeaseRequest request = world.Request("a", 100 + i);
        const auto grant = world.leases().GrantLease(request);
        // Between two generations there is always one of them.
        ASSERT_OK(grant);
        EXPECT_OK(world.leases().RedeemTicket(grant->ticket, request.peer));
        world.leases().End(grant->lease, "done");
      }
    });
  }
  for (int n = 0; n < 10; ++n) world.Stage("a", /*restage=*/true);
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(world.leases().count(), 0);
  EXPECT_EQ(world.lease_count("a"), 0);
  EXPECT_OK(world.residency().Evict("a", "", false));
}

}  // namespace
}  // namespace weightd::testing
