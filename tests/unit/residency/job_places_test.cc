#include "daemon/residency/job_places.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weightd::testing {
namespace {

class JobPlacesTest : public ::testing::Test {
 protected:
  // Takes a place for such a job, where there is one.
  std::shared_ptr<StageJob> TakeFor(const std::string& lane, const JobUsers& users) {
    StageTask task = {.ref = {.model = "m"}, .devices = {"host"}, .lane = lane};
    if (!places_.HasFor(lane, users)) return nullptr;
    auto job = std::make_shared<StageJob>(JobId(next_id_++), std::move(task));
    places_.Take(*job, users);
    return job;
  }
  std::shared_ptr<StageJob> Take(const std::string& lane, uint32_t uid,
                                 JobPriority priority = JobPriority::kClient) {
    auto job = TakeFor(lane, {{IsUsers(priority) ? uid : kDaemonUser, priority}});
    if (job != nullptr) kept_.push_back(job);
    return job;
  }

  uint64_t next_id_ = 1;
  std::vector<std::shared_ptr<StageJob>> kept_;
  JobPlaces places_{2, /*lanes_max=*/8};
};

// What a volume that hangs keeps is its own.
TEST_F(JobPlacesTest, EachLaneHasItsPlaces) {
  for (const char* lane : {"hung", "good", kMemoryLane}) {
    const auto first = Take(lane, 7);
    ASSERT_NE(first, nullptr);
    ASSERT_NE(Take(lane, 7), nullptr);
    EXPECT_EQ(Take(lane, 7), nullptr);
    places_.Give(*first);
    EXPECT_NE(Take(lane, 7), nullptr);
  }
}

TEST_F(JobPlacesTest, LanesHaveABoundAndEachUserOnePlaceBeyondIt) {
  for (uint32_t i = 0; i < 8; ++i) EXPECT_NE(Take(absl::StrCat("lane ", i), 7), nullptr);
  EXPECT_NE(Take("one more", 7), nullptr);
  EXPECT_EQ(Take("one more", 7), nullptr);
  EXPECT_EQ(Take("another", 7), nullptr) << "he has one";
  EXPECT_NE(Take("another", 8), nullptr);
  EXPECT_NE(Take("another", 0, JobPriority::kOperator), nullptr);
  EXPECT_NE(Take("another", 0, JobPriority::kPreload), nullptr) << "the daemon is no user";
  places_.Give(*kept_.front());
  EXPECT_NE(Take("another", 8), nullptr) << "it is one of the eight now";
}

TEST_F(JobPlacesTest, PlacesBeyondTheBoundHaveOne) {
  for (uint32_t i = 0; i < 8; ++i) Take(absl::StrCat("lane ", i), 7);
  for (uint32_t i = 0; i < JobPlaces::kOwnPlaces; ++i) {
    EXPECT_NE(Take("more", 100 + i), nullptr) << i;
  }
  EXPECT_EQ(Take("more", 7), nullptr);
  places_.Give(*kept_.back());
  EXPECT_NE(Take("more", 7), nullptr);
}

// He who waits for a volume that hangs has a place in another, and leaves others theirs.
TEST_F(JobPlacesTest, UsersHaveTheirPlaceInEachLane) {
  for (const char* lane : {"hung", "good"}) {
    Take(lane, 7);
    Take(lane, 7);
  }
  EXPECT_NE(Take("hung", 8), nullptr);
  EXPECT_NE(Take("good", 8), nullptr);
  EXPECT_EQ(Take("good", 9), nullptr);
}

// One for a client, one for an operator, and one for the daemon itself.
TEST_F(JobPlacesTest, UserWithoutAJobHasAPlace) {
  const auto first = Take("hung", 7);
  ASSERT_NE(Take("hung", 7), nullptr);
  const auto client = Take("hung", 8);
  ASSERT_NE(client, nullptr);
  EXPECT_EQ(Take("hung", 9), nullptr);
  EXPECT_EQ(Take("hung", 7, JobPriority::kOperator), nullptr);
  EXPECT_NE(Take("hung", 9, JobPriority::kOperator), nullptr);
  EXPECT_EQ(Take("hung", 10, JobPriority::kOperator), nullptr);
  EXPECT_NE(Take("hung", 0, JobPriority::kPreload), nullptr);
  EXPECT_EQ(Take("hung", 0, JobPriority::kRefresh), nullptr);
  places_.Give(*client);
  EXPECT_NE(Take("hung", 10), nullptr);
  places_.Give(*first);
  EXPECT_NE(Take("hung", 7), nullptr);
}

// It runs for all who wait for it, and any of them may give it his place.
TEST_F(JobPlacesTest, JobOfSeveralUsersHasThePlaceOfEach) {
  Take("hung", 7);
  Take("hung", 7);
  const JobUsers both = {{7, JobPriority::kClient}, {8, JobPriority::kClient}};
  const auto job = TakeFor("hung", both);
  ASSERT_NE(job, nullptr);
  EXPECT_EQ(Take("hung", 8, JobPriority::kOperator), nullptr);
  places_.Give(*job);
  EXPECT_NE(Take("hung", 8, JobPriority::kOperator), nullptr);
}

TEST_F(JobPlacesTest, NoMoreThanMaxRun) {
  for (int round = 0; round < 3; ++round) {
    for (uint32_t i = 0; i < 100; ++i) Take(absl::StrCat("lane ", i), 7);
  }
  for (uint32_t lane = 0; lane < 100; ++lane) {
    for (uint32_t i = 0; i < 100; ++i) {
      Take(absl::StrCat("lane ", lane), i, static_cast<JobPriority>(i % 4));
    }
  }
  EXPECT_EQ(kept_.size(), places_.max());
}

}  // namespace
}  // namespace weightd::testing
