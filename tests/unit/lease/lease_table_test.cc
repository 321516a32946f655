#include "daemon/lease/lease_table.h"

#include <sys/mman.h>

#include <set>

#include "common/handle_protocol.h"
#include "daemon/lease/ticket.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/lease/lease_world.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr auto kHost = DeviceKind::kHost;
constexpr auto kCuda = DeviceKind::kCuda;

TEST(LeaseTableTest, GrantsWhatIsResident) {
  LeaseWorld world(kHost);
  const GenerationId generation = world.Stage("a");
  world.TakeEvents();
  ASSERT_OK_AND_ASSIGN(const Grant grant, world.leases().GrantLease(world.Request("a")));
  EXPECT_TRUE(grant.lease.valid());
  EXPECT_EQ(grant.content->id, generation);
  EXPECT_EQ(world.leases().count(), 1);
  EXPECT_EQ(world.lease_count("a"), 1);
  EXPECT_THAT(world.residency().Evict("a", "", false), ReasonIs(Reason::kModelLeased, _));
  world.leases().End(grant.lease, "cancelled");
  EXPECT_EQ(world.leases().count(), 0);
  EXPECT_EQ(world.lease_count("a"), 0);
  EXPECT_THAT(world.TakeEvents(), ElementsAre("lease_granted a client", "lease_ended a cancelled"));
  EXPECT_OK(world.residency().Evict("a", "", false));
}

TEST(LeaseTableTest, GrantsNothingElse) {
  LeaseWorld world(kHost);
  world.Stage("a");
  for (const char* model : {"b", "A", "a@1000", "a@abcdef0"}) {
    EXPECT_THAT(world.leases().GrantLease(world.Request(model)),
                ReasonIs(Reason::kModelNotResident, _));
  }
  EXPECT_THAT(world.leases().GrantLease(world.Request("")),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  LeaseRequest elsewhere = world.Request("a");
  elsewhere.device = "GPU-none";
  EXPECT_THAT(world.leases().GrantLease(std::move(elsewhere)),
              ReasonIs(Reason::kDeviceNotFound, HasSubstr("GPU-none")));
  EXPECT_EQ(world.leases().count(), 0);
}

TEST(LeaseTableTest, EndsOnce) {
  LeaseWorld world(kHost);
  world.Stage("a");
  const Grant first = *world.leases().GrantLease(world.Request("a"));
  const Grant second = *world.leases().GrantLease(world.Request("a"));
  EXPECT_NE(first.lease, second.lease);
  world.leases().End(first.lease, "gone");
  world.leases().End(first.lease, "gone");
  world.leases().End(LeaseId(), "never was");
  EXPECT_EQ(world.leases().count(), 1);
  EXPECT_EQ(world.lease_count("a"), 1);
}

TEST(LeaseTableTest, CudaHandleTravelsInTheGrant) {
  LeaseWorld world(kCuda);
  world.Stage("a");
  ASSERT_OK_AND_ASSIGN(const Grant grant, world.leases().GrantLease(world.Request("a")));
  EXPECT_THAT(grant.cuda_ipc_handle, SizeIs(64));
  EXPECT_THAT(grant.ticket, IsEmpty());
  EXPECT_OK(world.device().inner().Map(grant.cuda_ipc_handle));
}

TEST(LeaseTableTest, CudaHandleIsRefusedAcrossPidNamespaces) {
  LeaseWorld world(kCuda);
  world.Stage("a");
  LeaseRequest request = world.Request("a", 4711);
  request.peer.same_pid_namespace = false;
  EXPECT_THAT(world.leases().GrantLease(std::move(request)),
              AllOf(StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("4711")),
                    ReasonIs(Reason::kHandleUnusable, HasSubstr("shareProcessNamespace"))));
  EXPECT_EQ(world.lease_count("a"), 0);
  EXPECT_OK(world.residency().Evict("a", "", false));
}

TEST(LeaseTableTest, HostMemoryWorksAcrossPidNamespaces) {
  LeaseWorld world(kHost);
  world.Stage("a");
  LeaseRequest request = world.Request("a");
  request.peer.same_pid_namespace = false;
  EXPECT_OK(world.leases().GrantLease(std::move(request)));
}

TEST(LeaseTableTest, FailedExportGivesTheLeaseBack) {
  LeaseWorld world(kCuda);
  world.Stage("a");
  world.device().OnExport([] { return absl::InternalError("no export"); });
  EXPECT_THAT(world.leases().GrantLease(world.Request("a")),
              StatusIs(absl::StatusCode::kInternal, "no export"));
  EXPECT_EQ(world.lease_count("a"), 0);
}

TEST(LeaseTableTest, TicketWorksOnceForItsProcess) {
  LeaseWorld world(kHost);
  world.Stage("a");
  const LeaseRequest request = world.Request("a", 100, 1000);
  const Peer peer = request.peer;
  ASSERT_OK_AND_ASSIGN(const Grant grant, world.leases().GrantLease(request));
  EXPECT_THAT(grant.cuda_ipc_handle, IsEmpty());
  EXPECT_THAT(grant.ticket, SizeIs(kTicketBytes));

  const auto refused = ReasonIs(Reason::kTicketInvalid, _);
  EXPECT_THAT(world.leases().RedeemTicket(grant.ticket, world.Request("a", 101, 1000).peer),
              refused);
  EXPECT_THAT(world.leases().RedeemTicket(grant.ticket, world.Request("a", 100, 1001).peer),
              refused);
  EXPECT_THAT(world.leases().RedeemTicket(std::string(kTicketBytes, 'x'), peer), refused);
  EXPECT_THAT(world.leases().RedeemTicket("", peer), refused);
  // A stranger's try does not use it up.
  ASSERT_OK_AND_ASSIGN(const auto fds, world.leases().RedeemTicket(grant.ticket, peer));
  ASSERT_THAT(fds, SizeIs(1));
  void* memory =
      ::mmap(nullptr, grant.content->allocated_bytes, PROT_READ, MAP_SHARED, fds[0].get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  ::munmap(memory, grant.content->allocated_bytes);
  EXPECT_THAT(world.leases().RedeemTicket(grant.ticket, peer), refused);
}

TEST(LeaseTableTest, TicketEndsWithItsLease) {
  LeaseWorld world(kHost);
  world.Stage("a");
  const LeaseRequest request = world.Request("a");
  const Grant grant = *world.leases().GrantLease(request);
  world.leases().End(grant.lease, "gone");
  EXPECT_THAT(world.leases().RedeemTicket(grant.ticket, request.peer),
              ReasonIs(Reason::kTicketInvalid, _));
}

// EMFILE, say: the client may come again.
TEST(LeaseTableTest, TicketOutlivesAnExportThatFails) {
  LeaseWorld world(kHost);
  world.Stage("a");
  const LeaseRequest request = world.Request("a");
  const Grant grant = *world.leases().GrantLease(request);
  world.device().OnExport([] { return absl::ResourceExhaustedError("no descriptor"); });
  EXPECT_THAT(world.leases().RedeemTicket(grant.ticket, request.peer),
              StatusIs(absl::StatusCode::kResourceExhausted, "no descriptor"));
  world.device().OnExport(nullptr);
  EXPECT_OK(world.leases().RedeemTicket(grant.ticket, request.peer));
}

TEST(LeaseTableTest, TicketsDiffer) {
  std::set<std::string> tickets;
  for (int i = 0; i < 1000; ++i) tickets.insert(*MakeTicket());
  EXPECT_THAT(tickets, SizeIs(1000));
}

TEST(LeaseTableTest, LimitPerUid) {
  LeaseWorld world(kHost, {.leases_per_uid_max = 2, .leases_max = 100});
  world.Stage("a");
  const Grant first = *world.leases().GrantLease(world.Request("a", 1, 1000));
  ASSERT_OK(world.leases().GrantLease(world.Request("a", 2, 1000)));
  EXPECT_THAT(world.leases().GrantLease(world.Request("a", 3, 1000)),
              AllOf(StatusIs(absl::StatusCode::kResourceExhausted, _),
                    ReasonIs(Reason::kLimitExceeded, HasSubstr("uid 1000 holds 2"))));
  EXPECT_OK(world.leases().GrantLease(world.Request("a", 4, 1001)));
  world.leases().End(first.lease, "gone");
  EXPECT_OK(world.leases().GrantLease(world.Request("a", 5, 1000)));
  EXPECT_EQ(world.lease_count("a"), 3);
}

TEST(LeaseTableTest, LimitOfAll) {
  LeaseWorld world(kHost, {.leases_per_uid_max = 100, .leases_max = 2});
  world.Stage("a");
  const Grant first = *world.leases().GrantLease(world.Request("a", 1, 1));
  ASSERT_OK(world.leases().GrantLease(world.Request("a", 2, 2)));
  EXPECT_THAT(world.leases().GrantLease(world.Request("a", 3, 3)),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("leases_max")));
  world.leases().End(first.lease, "gone");
  EXPECT_OK(world.leases().GrantLease(world.Request("a", 3, 3)));
}

TEST(LeaseTableTest, OptionsAreChecked) {
  EXPECT_OK(LeaseOptions().Validate());
  EXPECT_OK((LeaseOptions{.leases_per_uid_max = 65536, .leases_max = 65536}).Validate());
  EXPECT_FALSE((LeaseOptions{.leases_per_uid_max = 65537, .leases_max = 1}).Validate().ok());
  EXPECT_FALSE((LeaseOptions{.leases_per_uid_max = 1, .leases_max = 65537}).Validate().ok());
  EXPECT_FALSE((LeaseOptions{.leases_per_uid_max = 0, .leases_max = 1}).Validate().ok());
  EXPECT_FALSE((LeaseOptions{.leases_per_uid_max = 1, .leases_max = 0}).Validate().ok());
}

TEST(LeaseTableTest, ListsOldestFirst) {
  LeaseWorld world(kHost);
  world.Stage("a");
  world.Stage("b");
  for (const char* model : {"b", "a", "b"}) {
    world.clock().Advance(absl::Seconds(1));
    ASSERT_OK(world.leases().GrantLease(world.Request(model, 7, 8)));
  }
  const std::vector<LeaseInfo> all = world.leases().List();
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_EQ(all[0].content->model, "b");
  EXPECT_EQ(all[1].content->model, "a");
  EXPECT_LT(all[0].since, all[1].since);
  EXPECT_EQ(all[0].peer.pid, 7);
  EXPECT_EQ(all[0].peer.uid, 8);
  EXPECT_EQ(all[0].client_name, "client");
  EXPECT_THAT(world.leases().List("b"), SizeIs(2));
  EXPECT_THAT(world.leases().List("c"), IsEmpty());
}

TEST(LeaseTableTest, HoldersHearOfANewGeneration) {
  LeaseWorld world(kHost);
  world.Stage("a");
  world.Stage("b");
  const Grant grant = *world.leases().GrantLease(world.Request("a"));
  world.Stage("b", /*restage=*/true);  // another model
  EXPECT_THAT(world.notices().lines(), IsEmpty());
  const GenerationId second = world.Stage("a", /*restage=*/true);
  const GenerationId third = world.Stage("a", /*restage=*/true);
  EXPECT_THAT(world.notices().lines(), ElementsAre(absl::StrCat("superseded ", second.value()),
                                                   absl::StrCat("superseded ", third.value())));
  world.leases().End(grant.lease, "gone");
  world.Stage("a", /*restage=*/true);
  EXPECT_THAT(world.notices().lines(), SizeIs(2));
}

TEST(LeaseTableTest, HoldersHearOfADrain) {
  LeaseWorld world(kHost);
  world.Stage("a");
  ASSERT_OK(world.leases().GrantLease(world.Request("a")));
  LeaseRequest deaf = world.Request("a");
  deaf.on_notice = nullptr;
  ASSERT_OK(world.leases().GrantLease(std::move(deaf)));
  world.leases().NotifyDraining(absl::InfiniteFuture());
  EXPECT_THAT(world.notices().lines(), ElementsAre("draining"));
}

// It would never hear that the daemon goes.
TEST(LeaseTableTest, NoLeaseIsGrantedInADrain) {
  LeaseWorld world(kHost);
  world.Stage("a");
  world.leases().NotifyDraining(absl::InfiniteFuture());
  EXPECT_THAT(world.leases().GrantLease(world.Request("a")),
              AllOf(StatusIs(absl::StatusCode::kUnavailable, _), ReasonIs(Reason::kDraining, _)));
  EXPECT_EQ(world.lease_count("a"), 0);
}

TEST(LeaseTableTest, HoldersOfWhatIsEvictedByForceAreToldAndThenEnded) {
  LeaseWorld world(kHost);
  world.Stage("a");
  world.Stage("b");
  ASSERT_OK_AND_ASSIGN(const Grant grant, world.leases().GrantLease(world.Request("a")));
  ASSERT_OK_AND_ASSIGN(const Grant other, world.leases().GrantLease(world.Request("b")));
  ASSERT_OK_AND_ASSIGN(const Residency::Evicted evicted,
                       world.residency().Evict("a", "", /*force=*/true));
  EXPECT_EQ(evicted.copies, 0);
  ASSERT_THAT(evicted.revoking, SizeIs(1));
  EXPECT_THAT(world.leases().GrantLease(world.Request("a")), ReasonIs(Reason::kModelBusy, _));
  EXPECT_FALSE(world.residency().AwaitGone(evicted.revoking, absl::InfinitePast()));
  world.leases().NotifyRevoking(evicted.revoking, absl::InfiniteFuture());
  EXPECT_THAT(world.notices().lines(), ElementsAre("revoking"));
  EXPECT_EQ(world.leases().Revoke(evicted.revoking), 1);
  EXPECT_THAT(world.notices().lines(), ElementsAre("revoking", "revoked"));
  EXPECT_TRUE(world.residency().AwaitGone(evicted.revoking, absl::InfiniteFuture()));
  EXPECT_EQ(world.leases().count(), 1);
  // The stream's own end comes late, and a ticket is worth nothing any more.
  world.leases().End(grant.lease, "stream ended");
  EXPECT_THAT(world.leases().RedeemTicket(grant.ticket, world.Request("a").peer),
              ReasonIs(Reason::kTicketInvalid, _));
  EXPECT_EQ(world.lease_count("b"), 1);
}

TEST(LeaseTableTest, HolderThatLeavesFreesWhatIsEvictedByForce) {
  LeaseWorld world(kHost);
  world.Stage("a");
  ASSERT_OK_AND_ASSIGN(const Grant grant, world.leases().GrantLease(world.Request("a")));
  ASSERT_OK_AND_ASSIGN(const Residency::Evicted evicted,
                       world.residency().Evict("a", "", /*force=*/true));
  world.leases().End(grant.lease, "left");
  EXPECT_TRUE(world.residency().AwaitGone(evicted.revoking, absl::InfiniteFuture()));
  EXPECT_EQ(world.leases().Revoke(evicted.revoking), 0);
}

TEST(LeaseTableTest, ModelsAreStagedAfterTheTableIsGone) {
  LeaseWorld world(kHost);
  world.Stage("a");
  world.DestroyLeases();
  EXPECT_TRUE(world.Stage("a", /*restage=*/true).valid());
}

}  // namespace
}  // namespace weightd::testing
