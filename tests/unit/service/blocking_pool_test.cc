#include "daemon/service/blocking_pool.h"

#include <atomic>

#include "absl/synchronization/notification.h"
#include "common/errors.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ReasonIs;

constexpr uint32_t kAda = 1000;
constexpr uint32_t kBob = 1001;

std::unique_ptr<BlockingPool> Make(uint32_t threads, uint32_t waiting_max,
                                   uint32_t waiting_per_uid_max) {
  auto pool = BlockingPool::Start({.name = "test",
                                   .threads = threads,
                                   .waiting_max = waiting_max,
                                   .waiting_per_uid_max = waiting_per_uid_max});
  EXPECT_OK(pool);
  return *std::move(pool);
}

// Occupies one thread until it is released.
class Blocker {
 public:
  Blocker(BlockingPool& pool, uint32_t uid) {
    EXPECT_OK(pool.Submit(uid, [this] {
      started_.Notify();
      release_.WaitForNotification();
    }));
    started_.WaitForNotification();
  }
  void Release() { release_.Notify(); }

 private:
  absl::Notification started_;
  absl::Notification release_;
};

TEST(BlockingPoolTest, RunsEverythingBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    const auto pool = Make(3, 100, 100);
    for (int i = 0; i < 100; ++i) ASSERT_OK(pool->Submit(kAda, [&] { ++ran; }));
  }
  EXPECT_EQ(ran, 100);
}

TEST(BlockingPoolTest, RefusesWhenFullAndGoesOn) {
  std::atomic<int> ran = 0;
  {
    const auto pool = Make(1, 2, 2);
    Blocker blocker(*pool, kAda);
    ASSERT_OK(pool->Submit(kAda, [&] { ++ran; }));
    ASSERT_OK(pool->Submit(kBob, [&] { ++ran; }));
    EXPECT_THAT(pool->Submit(kBob, [&] { ++ran; }),
                ReasonIs(Reason::kLimitExceeded, HasSubstr("2 requests")));
    blocker.Release();
  }
  EXPECT_EQ(ran, 2);
}

TEST(BlockingPoolTest, OneUserDoesNotFillTheQueue) {
  const auto pool = Make(1, 100, 2);
  Blocker blocker(*pool, kAda);
  ASSERT_OK(pool->Submit(kAda, [] {}));
  ASSERT_OK(pool->Submit(kAda, [] {}));
  EXPECT_THAT(pool->Submit(kAda, [] {}), ReasonIs(Reason::kLimitExceeded, HasSubstr("uid 1000")));
  EXPECT_OK(pool->Submit(kBob, [] {}));
  blocker.Release();
}

TEST(BlockingPoolTest, UsersTakeTurns) {
  std::vector<uint32_t> order;
  {
    const auto pool = Make(1, 100, 100);
    Blocker blocker(*pool, kAda);
    for (int i = 0; i < 3; ++i) ASSERT_OK(pool->Submit(kAda, [&] { order.push_back(kAda); }));
    for (int i = 0; i < 2; ++i) ASSERT_OK(pool->Submit(kBob, [&] { order.push_back(kBob); }));
    blocker.Release();
  }
  EXPECT_THAT(order, ElementsAre(kAda, kBob, kAda, kBob, kAda));
}

// Whoever occupies threads for long leaves one for others.
TEST(BlockingPoolTest, OneUserDoesNotHoldEveryThread) {
  const auto pool = Make(2, 100, 100);
  Blocker blocker(*pool, kAda);
  std::atomic<bool> second_ran = false;
  ASSERT_OK(pool->Submit(kAda, [&] { second_ran = true; }));
  absl::Notification ran;
  ASSERT_OK(pool->Submit(kBob, [&] { ran.Notify(); }));
  ran.WaitForNotification();
  EXPECT_FALSE(second_ran);
  blocker.Release();
}

TEST(BlockingPoolTest, WithdrawnTaskDoesNotRun) {
  std::atomic<int> ran = 0;
  {
    const auto pool = Make(1, 1, 1);
    Blocker blocker(*pool, kAda);
    ASSERT_OK_AND_ASSIGN(const TaskId id, pool->Submit(kBob, [&] { ++ran; }));
    EXPECT_TRUE(pool->Withdraw(id));
    EXPECT_FALSE(pool->Withdraw(id));
    // Its place is free.
    ASSERT_OK(pool->Submit(kBob, [&] { ran += 10; }));
    blocker.Release();
  }
  EXPECT_EQ(ran, 10);
}

}  // namespace
}  // namespace weightd
