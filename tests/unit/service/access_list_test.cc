#include "daemon/service/access_list.h"

#include "common/errors.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::ReasonIs;

Peer PeerOf(uint32_t uid, uint32_t gid, std::vector<uint32_t> groups = {}) {
  Peer peer;
  peer.uid = uid;
  peer.gid = gid;
  peer.groups = std::move(groups);
  return peer;
}

const AccessOptions kAccess = {
    .attach_uids = {1}, .attach_gids = {10}, .operate_uids = {2}, .operate_gids = {20}};

TEST(AccessListTest, UidOnTheAttachListMayAttachOnly) {
  EXPECT_TRUE(Allows(kAccess, PeerOf(1, 99), Right::kAttach));
  EXPECT_FALSE(Allows(kAccess, PeerOf(1, 99), Right::kOperate));
}

TEST(AccessListTest, WhoMayOperateMayAttach) {
  EXPECT_TRUE(Allows(kAccess, PeerOf(2, 99), Right::kOperate));
  EXPECT_TRUE(Allows(kAccess, PeerOf(2, 99), Right::kAttach));
}

TEST(AccessListTest, PrimaryAndSupplementaryGroupsCount) {
  EXPECT_TRUE(Allows(kAccess, PeerOf(9, 10), Right::kAttach));
  EXPECT_TRUE(Allows(kAccess, PeerOf(9, 99, {98, 10}), Right::kAttach));
  EXPECT_TRUE(Allows(kAccess, PeerOf(9, 99, {20}), Right::kOperate));
}

TEST(AccessListTest, GidIsNotTakenForAUid) {
  EXPECT_FALSE(Allows(kAccess, PeerOf(10, 1), Right::kAttach));
}

TEST(AccessListTest, RootIsNobodySpecial) {
  EXPECT_FALSE(Allows(kAccess, PeerOf(0, 0), Right::kAttach));
}

TEST(AccessListTest, RefusalNamesWhoAndTheSetting) {
  EXPECT_THAT(CheckAccess(kAccess, PeerOf(7, 8), Right::kOperate),
              ReasonIs(Reason::kPermissionDenied,
                       AllOf(HasSubstr("uid 7 gid 8"), HasSubstr("access.operate_uid"))));
}

TEST(AccessListTest, CountsWhomItRefused) {
  AccessList list(kAccess);
  EXPECT_OK(list.Check(PeerOf(1, 99), Right::kAttach));
  EXPECT_EQ(list.Check(PeerOf(1, 99), Right::kOperate).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(list.refusals(Right::kAttach), 0U);
  EXPECT_EQ(list.refusals(Right::kOperate), 1U);
  list.Set({});
  EXPECT_EQ(list.Check(PeerOf(1, 99), Right::kAttach).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(list.refusals(Right::kAttach), 1U);
}

}  // namespace
}  // namespace weightd
