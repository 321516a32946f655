#include "daemon/service/fair_queue.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weightd {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> PopAll(FairQueue<std::string>& queue) {
  std::vector<std::string> all;
  while (auto item = queue.Pop()) all.push_back(*item);
  return all;
}

TEST(FairQueueTest, UsersTakeTurns) {
  FairQueue<std::string> queue;
  for (const char* item : {"a1", "a2", "a3"}) queue.Push(1, item);
  queue.Push(2, "b1");
  queue.Push(0, "root1");
  EXPECT_EQ(queue.size(), 5u);
  EXPECT_THAT(PopAll(queue), ElementsAre("root1", "a1", "b1", "a2", "a3"));
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.Pop().has_value());
}

TEST(FairQueueTest, WhoComesLateWaitsForOneOfEachOtherUser) {
  FairQueue<std::string> queue;
  for (int i = 0; i < 100; ++i) queue.Push(7, "flood");
  EXPECT_EQ(queue.Pop(), "flood");
  queue.Push(8, "late");
  EXPECT_EQ(queue.Pop(), "late");
  EXPECT_EQ(queue.size(), 99u);
}

}  // namespace
}  // namespace weightd
