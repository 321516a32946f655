#include "common/outbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/listener.h"

namespace weightd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(OutboxTest, TellsInTheOrderOfThePuts) {
  std::vector<int> told;
  Outbox<int> outbox([&](const int& value) { told.push_back(value); });
  outbox.Put(1);
  outbox.Put(2);
  EXPECT_THAT(told, IsEmpty());
  outbox.Deliver();
  outbox.Put(3);
  outbox.DeliverAll();
  EXPECT_THAT(told, ElementsAre(1, 2, 3));
}

TEST(OutboxTest, LatestTakesThePlaceOfWhatWaits) {
  std::vector<int> told;
  Outbox<int> outbox([&](const int& value) { told.push_back(value); });
  outbox.PutLatest(1);
  outbox.PutLatest(2);
  outbox.Deliver();
  outbox.PutLatest(3);
  outbox.Deliver();
  EXPECT_THAT(told, ElementsAre(2, 3));
}

TEST(OutboxTest, ListenerMayPutAndDeliver) {
  std::vector<int> told;
  std::unique_ptr<Outbox<int>> outbox;
  outbox = std::make_unique<Outbox<int>>([&](const int& value) {
    if (value < 3) outbox->Put(value + 1);
    outbox->Deliver();
    told.push_back(value);
  });
  outbox->Put(1);
  outbox->Deliver();
  EXPECT_THAT(told, ElementsAre(1, 2, 3));
}

TEST(OutboxTest, StoppedByItsListenerIsNotCalledAgain) {
  std::vector<int> told;
  std::unique_ptr<Outbox<int>> outbox;
  outbox = std::make_unique<Outbox<int>>([&](const int& value) {
    told.push_back(value);
    outbox->Stop();
  });
  outbox->Put(1);
  outbox->Put(2);
  outbox->Deliver();
  outbox->Put(3);
  outbox->Deliver();
  EXPECT_THAT(told, ElementsAre(1));
}

TEST(OutboxTest, StopWaitsForTheCallInProgress) {
  absl::Notification called;
  absl::Notification release;
  std::atomic<bool> returned = false;
  Outbox<int> outbox([&](const int& value) {
    if (value != 1) return;
    called.Notify();
    release.WaitForNotification();
    returned = true;
  });
  outbox.Put(1);
  outbox.Put(2);
  std::thread teller([&] { outbox.Deliver(); });
  called.WaitForNotification();
  outbox.Put(3);
  outbox.Deliver();  // another thread is at it
  std::thread stopper([&] {
    outbox.Stop();
    EXPECT_TRUE(returned);
  });
  release.Notify();
  stopper.join();
  teller.join();
}

// What is told may belong to somebody: it is given back before DeliverAll() returns.
TEST(OutboxTest, DeliverAllReturnsWhenNothingIsHeld) {
  for (int round = 0; round < 200; ++round) {
    const auto held = std::make_shared<int>(round);
    Outbox<std::shared_ptr<int>> outbox([](const std::shared_ptr<int>&) {});
    outbox.Put(held);
    std::thread other([&] { outbox.Deliver(); });
    outbox.DeliverAll();
    EXPECT_EQ(held.use_count(), 1);
    other.join();
  }
}

// Listeners that come and go while many threads tell: none is called after it was stopped, and each
// sees an ascending order.
TEST(OutboxTest, TellersAndStopsMayRace) {
  for (int round = 0; round < 100; ++round) {
    absl::Mutex mu;
    int next = 0;
    auto alive = std::make_unique<std::atomic<bool>>(true);
    int last = -1;
    const auto outbox = std::make_shared<Outbox<int>>([&](const int& value) {
      EXPECT_TRUE(*alive);
      EXPECT_GT(value, last);
      last = value;
    });
    std::vector<std::thread> tellers;
    tellers.reserve(3);
    for (int i = 0; i < 3; ++i) {
      tellers.emplace_back([&] {
        for (int n = 0; n < 50; ++n) {
          {
            absl::MutexLock lock(&mu);
            outbox->Put(next++);
          }
          outbox->Deliver();
        }
      });
    }
    outbox->Stop();
    alive.reset();
    for (std::thread& teller : tellers) teller.join();
  }
}

TEST(ListenerTest, TellsTheOneThatIsSet) {
  std::vector<int> first;
  std::vector<int> second;
  Listener<int> listener;
  listener.Tell(0);  // nobody
  listener.Set([&](const int& value) { first.push_back(value); });
  listener.Tell(1);
  listener.Set([&](const int& value) { second.push_back(value); });
  listener.Tell(2);
  listener.Set(nullptr);
  listener.Tell(3);
  EXPECT_THAT(first, ElementsAre(1));
  EXPECT_THAT(second, ElementsAre(2));
}

}  // namespace
}  // namespace weightd
