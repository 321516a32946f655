#include "daemon/residency/wish_list.h"

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"
#include "tests/unit/residency/residency_world.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = WishNotice::Kind;

// A list whose jobs fail when told: the status is what a volume would cause.
class WishListTest : public ::testing::Test {
 protected:
  WishListTest() {
    world_.AddModel("a");
    world_.AddModel("b");
  }
  void Make(const RetryOptions& options) {
    wishes_ = std::make_unique<WishList>(
        options, world_.residency(), world_.clock(), [this](const WishNotice& notice) {
          lines_.push_back(notice.kind == Kind::kRetry
                               ? absl::StrCat(notice.model, " retry ", notice.retry, " in ",
                                              absl::FormatDuration(notice.pause))
                               : absl::StrCat(notice.model, notice.kind == Kind::kGivenUp
                                                                ? " given up"
                                                                : " refused"));
        });
  }
  void FailNext(Reason reason, absl::StatusCode code = absl::StatusCode::kUnavailable) {
    device_->FailAllocate(1, ErrorWithReason(code, reason, "the volume is away"));
  }
  void Add(const std::string& model) {
    wishes_->Add({.request = {.model = model, .priority = JobPriority::kPreload},
                  .wanted = [this] { return wanted_; }});
  }
  // Until the jobs of the models have ended, and the list has seen it.
  void Settle() {
    for (const char* model : {"a", "b"}) {
      for (const auto& job : world_.residency().JobsFor(model)) (void)AwaitEnd(*job);
    }
    wishes_->Look();
  }
  void Advance(absl::Duration by) {
    world_.clock().Advance(by);
    wishes_->Look();
    Settle();
  }

  std::shared_ptr<MemoryDevice> device_ = std::make_shared<MemoryDevice>();
  ResidencyWorld world_{WorldOptions{.device = device_}};
  bool wanted_ = true;
  std::vector<std::string> lines_;
  std::unique_ptr<WishList> wishes_;
};

TEST_F(WishListTest, MetWishIsForgotten) {
  Make({});
  Add("a");
  Settle();
  EXPECT_TRUE(world_.Holds("a", 1));
  EXPECT_EQ(wishes_->size(), 0);
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(WishListTest, WhatAVolumeFailedIsTriedAgainAfterPausesThatGrow) {
  Make({.first_pause = absl::Seconds(5), .pause_max = absl::Seconds(15)});
  FailNext(Reason::kVolumeStuck, absl::StatusCode::kDeadlineExceeded);
  Add("a");
  Settle();
  EXPECT_EQ(wishes_->RetryOf("a")->number, 1);
  EXPECT_EQ(wishes_->RetryOf("a")->in, absl::Seconds(5));
  EXPECT_FALSE(wishes_->RetryOf("b").has_value());
  Advance(absl::Seconds(4));
  EXPECT_EQ(lines_.size(), 1) << "it pauses";
  FailNext(Reason::kVolumeBusy);
  Advance(absl::Seconds(1));
  FailNext(Reason::kReadFailed, absl::StatusCode::kDataLoss);
  Advance(absl::Seconds(10));
  Advance(absl::Seconds(15));
  EXPECT_THAT(lines_, ElementsAre("a retry 1 in 5s", "a retry 2 in 10s", "a retry 3 in 15s"));
  EXPECT_TRUE(world_.Holds("a", 1));
  EXPECT_EQ(wishes_->size(), 0);
}

TEST_F(WishListTest, RetriesEnd) {
  Make({.retries_max = 2, .first_pause = absl::Seconds(1)});
  FailNext(Reason::kVolumeStuck);
  Add("a");
  Settle();
  for (int i = 0; i < 2; ++i) {
    FailNext(Reason::kVolumeStuck);
    Advance(absl::Minutes(1));
  }
  Advance(absl::Hours(1));
  EXPECT_THAT(lines_, ElementsAre("a retry 1 in 1s", "a retry 2 in 2s", "a given up"));
  EXPECT_FALSE(world_.Holds("a", 1));
  EXPECT_EQ(wishes_->size(), 0);
}

TEST_F(WishListTest, WhatAnotherTryDoesNotMendIsNotTriedAgain) {
  Make({});
  FailNext(Reason::kBudgetExceeded, absl::StatusCode::kResourceExhausted);
  Add("a");
  Add("missing");
  for (const auto& job : world_.residency().JobsFor("missing")) (void)AwaitEnd(*job);
  Settle();
  EXPECT_EQ(wishes_->size(), 0);
  EXPECT_THAT(lines_, IsEmpty()) << "its event is told already";
}

TEST_F(WishListTest, WishWithoutAJobIsTold) {
  Make({});
  wishes_->Add({.request = {.model = "a", .devices = {"GPU-gone"}}});
  EXPECT_THAT(lines_, ElementsAre("a refused"));
  EXPECT_EQ(wishes_->size(), 0);
}

// Unpinned, or taken out of the configuration, in a pause.
TEST_F(WishListTest, WhatNobodyWantsAnyMoreIsNotTriedAgain) {
  Make({});
  FailNext(Reason::kVolumeStuck);
  Add("a");
  Settle();
  wanted_ = false;
  Advance(absl::Minutes(1));
  EXPECT_FALSE(world_.Holds("a", 1));
  EXPECT_EQ(wishes_->size(), 0);
}

// The watcher saw the model: nobody waits for the pause.
TEST_F(WishListTest, NewWishForTheSameIsTriedAtOnce) {
  Make({});
  FailNext(Reason::kVolumeStuck);
  Add("a");
  Settle();
  EXPECT_EQ(wishes_->size(), 1);
  Add("a");
  Settle();
  EXPECT_TRUE(world_.Holds("a", 1));
  EXPECT_EQ(wishes_->size(), 0);
}

TEST_F(WishListTest, ClockThatIsSetBackDoesNotStretchAPause) {
  Make({});
  FailNext(Reason::kVolumeStuck);
  Add("a");
  Settle();
  Advance(-absl::Hours(5));
  EXPECT_TRUE(world_.Holds("a", 1));
}

TEST_F(WishListTest, ThreadLooksByItself) {
  Make({});
  ASSERT_OK(wishes_->Start());
  Add("a");
  for (const auto& job : world_.residency().JobsFor("a")) (void)AwaitEnd(*job);
  wishes_->Stop();
  Add("b");
  EXPECT_THAT(world_.residency().JobsFor("b"), IsEmpty()) << "it was stopped";
}

TEST(RetryOptionsTest, LimitsAreChecked) {
  EXPECT_OK((RetryOptions{.retries_max = 1000, .first_pause = absl::Hours(1)}).Validate());
  EXPECT_OK((RetryOptions{.retries_max = 0, .first_pause = absl::Seconds(1)}).Validate());
  EXPECT_FALSE((RetryOptions{.retries_max = 1001}).Validate().ok());
  EXPECT_FALSE((RetryOptions{.first_pause = absl::Milliseconds(999)}).Validate().ok());
  EXPECT_FALSE((RetryOptions{.first_pause = absl::Hours(2)}).Validate().ok());
}

}  // namespace
}  // namespace weightd::testing
