#include "common/bounded_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(BoundedCallTest, GivesTheResultOfTheWork) {
  const absl::StatusOr<std::string> text = CallWithin<std::string>(
      absl::InfiniteDuration(), "read a", [] { return absl::StatusOr<std::string>("text"); });
  ASSERT_OK(text);
  EXPECT_EQ(*text, "text");
}

TEST(BoundedCallTest, GivesTheErrorOfTheWork) {
  EXPECT_EQ(CallWithin(absl::InfiniteDuration(), "read a",
                       std::function<absl::Status()>([] { return absl::NotFoundError("none"); })),
            absl::NotFoundError("none"));
}

TEST(BoundedCallTest, GivesUpWhatDoesNotReturnAndSaysWhatItWas) {
  const auto release = std::make_shared<absl::Notification>();
  const auto ended = std::make_shared<absl::Notification>();
  const absl::Status status =
      CallWithin(absl::Milliseconds(1), "read /mnt/key", std::function<absl::Status()>([=] {
                   release->WaitForNotification();
                   ended->Notify();
                   return absl::OkStatus();
                 }));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("read /mnt/key"), HasSubstr("1ms")));
  release->Notify();
  ended->WaitForNotification();
}

TEST(BoundedCallTest, TellsOnceThatItTakesLong) {
  const auto release = std::make_shared<absl::Notification>();
  int told = 0;
  const SlowNotice notice = {.after = absl::ZeroDuration(), .tell = [&] {
                               ++told;
                               release->Notify();
                             }};
  const absl::StatusOr<std::string> text = CallWithin<std::string>(
      absl::InfiniteDuration(), "read a",
      [release]() -> absl::StatusOr<std::string> {
        release->WaitForNotification();
        return std::string("text");
      },
      notice);
  ASSERT_OK(text);
  EXPECT_EQ(*text, "text");
  EXPECT_EQ(told, 1);
}

TEST(BoundedCallTest, RefusesWhenTooManyHangAndGoesOnWhenTheyCameBack) {
  const auto release = std::make_shared<absl::Notification>();
  const auto hang = [&](absl::Duration timeout) {
    return CallWithin(timeout, "read /mnt/key", std::function<absl::Status()>([release] {
                        release->WaitForNotification();
                        return absl::OkStatus();
                      }));
  };
  for (int i = 0; i < kAbandonedCallsMax; ++i) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(hang(absl::ZeroDuration())));
  }
  const absl::Status refused = hang(absl::InfiniteDuration());
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  release->Notify();
  while (absl::IsResourceExhausted(hang(absl::InfiniteDuration()))) {
  }
}

}  // namespace
}  // namespace weightd
