#include "daemon/storage/volume_threads.h"

#include <atomic>
#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "common/errors.h"
#include "common/steady_time.h"
#include "common/thread.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/storage/hanging_volume.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kStall = absl::Milliseconds(50);

class VolumeThreadsTest : public ::testing::Test {
 protected:
  void Make(uint32_t threads, uint32_t queue_max = 16, absl::Duration stall = kStall) {
    auto made = VolumeThreads::Create(
        "/models", {.threads = threads, .queue_max = queue_max, .stall_timeout = stall});
    ASSERT_OK(made);
    threads_ = *std::move(made);
  }
  absl::StatusOr<int> CallHanging(const std::string& what) {
    return threads_->Call<int>(what, [gate = gate_]() -> absl::StatusOr<int> {
      gate->Pass();
      return 7;
    });
  }

  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  std::shared_ptr<VolumeThreads> threads_;
};

TEST_F(VolumeThreadsTest, GivesWhatTheWorkReturns) {
  Make(1);
  EXPECT_EQ(CallHanging("stat a").value_or(0), 7);
  EXPECT_THAT(threads_->Call<int>("stat b",
                                  []() -> absl::StatusOr<int> { return absl::NotFoundError("b"); }),
              StatusIs(absl::StatusCode::kNotFound, "b"));
  EXPECT_EQ(threads_->state().running, 0u);
}

TEST_F(VolumeThreadsTest, AbandonsACallThatIsNotAnswered) {
  Make(2);
  gate_->Hang();
  EXPECT_THAT(CallHanging("stat a/b"),
              AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded,
                             AllOf(HasSubstr("/models"), HasSubstr("stat a/b"), HasSubstr("50ms"))),
                    ReasonIs(Reason::kVolumeStuck, ::testing::_)));
  const VolumeThreadsState state = threads_->state();
  EXPECT_EQ(state.stuck, 1u);
  EXPECT_EQ(state.stuck_what, "stat a/b");
  EXPECT_GE(state.stuck_for, kStall);
  // The other thread goes on.
  EXPECT_OK(threads_->Call<int>("stat b", []() -> absl::StatusOr<int> { return 1; }));
}

TEST_F(VolumeThreadsTest, RefusesAtOnceWhenEveryThreadIsStuckAndWorksAgainAfterwards) {
  Make(1);
  gate_->Hang();
  EXPECT_THAT(CallHanging("stat a"), ReasonIs(Reason::kVolumeStuck, ::testing::_));
  EXPECT_THAT(CallHanging("stat b"), StatusIs(absl::StatusCode::kUnavailable,
                                              AllOf(HasSubstr("/models"), HasSubstr("stat a"))));
  EXPECT_THAT(threads_->Submit("stat c", [] {}), ReasonIs(Reason::kVolumeStuck, ::testing::_));
  gate_->Release();
  absl::StatusOr<int> answer = CallHanging("stat d");
  while (!answer.ok()) answer = CallHanging("stat d");  // until the thread is back
  EXPECT_EQ(threads_->state().stuck, 0u);
}

// A mount below the root that hangs takes its own threads, queue and closes alone.
TEST_F(VolumeThreadsTest, VolumesBelowTheRootHaveThreadsOfTheirOwn) {
  Make(1, /*queue_max=*/1, absl::Minutes(5));
  gate_->Hang();
  const auto hang = [gate = gate_] { gate->Pass(); };
  ASSERT_OK(threads_->Submit(VolumeWork("read m/a", {2}), hang));
  gate_->AwaitHeld(1);
  ASSERT_OK(threads_->Submit(VolumeWork("read m/b", {2}), hang));
  EXPECT_THAT(threads_->Submit(VolumeWork("read m/c", {2}), hang),
              ReasonIs(Reason::kVolumeBusy, HasSubstr("1 calls wait")));
  threads_->Dispose({.volumes = {2}}, hang);
  gate_->AwaitHeld(2);
  const auto answer = []() -> absl::StatusOr<int> { return 1; };
  EXPECT_OK(threads_->Call<int>(VolumeWork("read a", {1}), answer));
  EXPECT_OK(threads_->Call<int>(VolumeWork("read a, n/a", {1, 3}), answer));
  EXPECT_OK(threads_->Call<int>("scan", answer));
  absl::Notification closed;
  threads_->Dispose({.volumes = {1}}, [&] { closed.Notify(); });
  closed.WaitForNotification();
  EXPECT_EQ(threads_->state().queued, 1u);
  EXPECT_EQ(threads_->state().running, 1u);
}

// However many mounts hang, the threads are bounded.
TEST_F(VolumeThreadsTest, WhereTooManyMountsHangAllIsRefused) {
  Make(1);
  gate_->Hang();
  const auto hang = [gate = gate_] { gate->Pass(); };
  for (uint64_t mount = 1; mount <= 32; ++mount) {
    ASSERT_OK(threads_->Submit(VolumeWork("read m", {mount}), hang));
  }
  while (threads_->state().stuck < 32) {
  }
  EXPECT_THAT(threads_->Submit("scan", [] {}),
              ReasonIs(Reason::kVolumeStuck, HasSubstr("all 32 threads")));
  gate_->Release();
}

// What a user asks for in any number waits for itself.
TEST_F(VolumeThreadsTest, AUsersCallsHoldUpNobodyElses) {
  Make(8, /*queue_max=*/4, absl::Minutes(5));
  gate_->Hang();
  const auto hang = [gate = gate_] { gate->Pass(); };
  for (int i = 0; i < 2; ++i) ASSERT_OK(threads_->Submit(VolumeWork("open m", {1}, 1000), hang));
  gate_->AwaitHeld(2);
  for (int i = 0; i < 4; ++i) ASSERT_OK(threads_->Submit(VolumeWork("open m", {1}, 1000), hang));
  EXPECT_EQ(threads_->state().running, 2u) << "a quarter of the threads";
  EXPECT_THAT(threads_->Submit(VolumeWork("open m", {1}, 1000), hang),
              ReasonIs(Reason::kVolumeBusy, HasSubstr("4 calls wait")));
  const auto answer = []() -> absl::StatusOr<int> { return 1; };
  EXPECT_OK(threads_->Call<int>(VolumeWork("open n", {1}, 1001), answer));
  EXPECT_OK(threads_->Call<int>(VolumeWork("open n", {1}), answer));
}

// Who joins a call waits for his own alone, not for what its first user has asked for besides.
TEST_F(VolumeThreadsTest, ACallBeginsInTheFirstLaneOfItsUsersThatLetsIt) {
  Make(4, /*queue_max=*/4, absl::Minutes(5));
  gate_->Hang();
  const auto hang = [gate = gate_] { gate->Pass(); };
  ASSERT_OK(threads_->Submit(VolumeWork("open m", {1}, 1000), hang));
  gate_->AwaitHeld(1);
  for (int i = 0; i < 3; ++i) ASSERT_OK(threads_->Submit(VolumeWork("open m", {1}, 1000), hang));
  std::atomic<bool> has_joined = false;
  absl::Notification asked;
  const VolumeUsers users([&] {
    VolumeUsers::Uids uids = {1000};
    if (has_joined) uids.insert(1001);
    if (!asked.HasBeenNotified()) asked.Notify();
    return uids;
  });
  std::atomic<int> runs = 0;
  absl::StatusOr<int> answer = 0;
  ASSERT_OK_AND_ASSIGN(Thread waiter, Thread::Start("waiter", [&] {
                         answer =
                             threads_->Call<int>(VolumeWork("open n", {1}, users),
                                                 [&]() -> absl::StatusOr<int> { return ++runs; });
                       }));
  asked.WaitForNotification();
  EXPECT_EQ(runs, 0);
  has_joined = true;
  waiter.Join();
  EXPECT_EQ(answer.value_or(0), 1);
  EXPECT_EQ(threads_->state().queued, 3u) << "it waits nowhere any more";
  gate_->Release();
  const auto nothing = []() -> absl::StatusOr<int> { return 1; };
  EXPECT_OK(threads_->Call<int>(VolumeWork("open m", {1}, 1000), nothing));
  EXPECT_EQ(runs, 1);
}

// Where the first of its users may ask for nothing, another may.
TEST_F(VolumeThreadsTest, ACallIsRefusedWhereEveryLaneOfItsUsersRefusesIt) {
  Make(4, /*queue_max=*/1, absl::Minutes(5));
  gate_->Hang();
  const auto hang = [gate = gate_] { gate->Pass(); };
  for (uint32_t uid : {1000, 1001}) {
    ASSERT_OK(threads_->Submit(VolumeWork("open m", {1}, uid), hang));
  }
  gate_->AwaitHeld(2);
  ASSERT_OK(threads_->Submit(VolumeWork("open m", {1}, 1000), hang));
  const VolumeUsers both([] { return VolumeUsers::Uids{1000, 1001}; });
  EXPECT_THAT(threads_->Call<int>(VolumeWork("open n", {1}, both),
                                  []() -> absl::StatusOr<int> { return 1; },
                                  {.silence = absl::Milliseconds(1)}),
              ReasonIs(Reason::kVolumeBusy, HasSubstr("could not begin within 1ms")));
  ASSERT_OK(threads_->Submit(VolumeWork("open m", {1}, 1001), hang));
  EXPECT_THAT(threads_->Call<int>(VolumeWork("open n", {1}, both),
                                  []() -> absl::StatusOr<int> { return 1; }),
              ReasonIs(Reason::kVolumeBusy, HasSubstr("1 calls wait")));
}

// Whoever may be many users takes half of the threads with a mount that hangs.
TEST_F(VolumeThreadsTest, TheUsersOfOneVolumeLeaveThreadsToOthers) {
  Make(1, /*queue_max=*/4, absl::Minutes(5));  // 32 in all
  gate_->Hang();
  const auto hang = [gate = gate_] { gate->Pass(); };
  for (uint32_t uid = 1; uid <= 40; ++uid) {
    ASSERT_OK(threads_->Submit(VolumeWork("open m", {1}, uid), hang));
    threads_->Dispose({.volumes = {1}, .uid = uid}, hang);
  }
  gate_->AwaitHeld(16 + 32);
  const auto answer = []() -> absl::StatusOr<int> { return 1; };
  EXPECT_OK(threads_->Call<int>(VolumeWork("open n", {2}, 1), answer));
  EXPECT_OK(threads_->Call<int>(VolumeWork("open n", {1}), answer));
  absl::Notification closed;
  threads_->Dispose({.volumes = {2}, .uid = 1}, [&] { closed.Notify(); });
  closed.WaitForNotification();
  EXPECT_EQ(threads_->state().running, 16u);
}

// Links from one directory into many mounts make any number of sets of volumes, each a lane.
TEST_F(VolumeThreadsTest, ManySetsOfVolumesLeaveThreadsToOthers) {
  Make(1, /*queue_max=*/4, absl::Minutes(5));  // 32 in all
  gate_->Hang();
  const auto hang = [gate = gate_] { gate->Pass(); };
  for (uint64_t set = 1; set < 64; ++set) {
    std::set<uint64_t> volumes = {1};
    for (uint64_t i = 0; i < 6; ++i) {
      if ((set >> i & 1) != 0) volumes.insert(i + 2);
    }
    ASSERT_OK(threads_->Submit(VolumeWork("open m", volumes, 1000), hang));
    ASSERT_OK(threads_->Submit(VolumeWork("open m", {100 + set}, 1000), hang));
  }
  gate_->AwaitHeld(16);
  const auto answer = []() -> absl::StatusOr<int> { return 1; };
  EXPECT_OK(threads_->Call<int>(VolumeWork("open n", {1}, 1001), answer));
  EXPECT_OK(threads_->Call<int>(VolumeWork("open n", {1}), answer));
  EXPECT_OK(threads_->Call<int>(VolumeWork("open n", {}, 1001), answer));
  EXPECT_EQ(threads_->state().running, 16u);
}

// So they do where many users do it.
TEST_F(VolumeThreadsTest, ManyUsersOfManySetsOfVolumesLeaveThreadsToOthers) {
  Make(1, /*queue_max=*/4, absl::Minutes(5));  // 32 in all
  gate_->Hang();
  for (uint32_t uid = 1; uid <= 10; ++uid) {
    for (uint64_t mount = 2; mount < 12; ++mount) {
      ASSERT_OK(threads_->Submit(VolumeWork("open m", {1, mount}, uid),
                                 [gate = gate_] { gate->Pass(); }));
    }
  }
  gate_->AwaitHeld(16);
  const auto answer = []() -> absl::StatusOr<int> { return 1; };
  EXPECT_OK(threads_->Call<int>(VolumeWork("open n", {1}, 1001), answer));
  EXPECT_OK(threads_->Call<int>(VolumeWork("open n", {1, 2}), answer)) << "the daemon's";
  EXPECT_EQ(threads_->state().running, 16u);
}

// A volume that is slow in closing is so for whose files it closes.
TEST_F(VolumeThreadsTest, AUsersClosesHoldUpNobodyElses) {
  Make(8, /*queue_max=*/4, absl::Minutes(5));
  gate_->Hang();
  for (int i = 0; i < 100; ++i) {
    threads_->Dispose({.volumes = {1}, .uid = 1000}, [gate = gate_] { gate->Pass(); });
  }
  gate_->AwaitHeld(1);
  absl::Notification closed;
  threads_->Dispose({.volumes = {1}, .uid = 1001}, [&] { closed.Notify(); });
  closed.WaitForNotification();
  absl::Notification closed_too;
  threads_->Dispose({.volumes = {1}}, [&] { closed_too.Notify(); });
  closed_too.WaitForNotification();
}

// A thread is of no lane: mounts that answer may be as many as they like.
TEST_F(VolumeThreadsTest, ThreadsThatHaveNothingToDoServeWhateverVolumeComes) {
  Make(1);
  for (uint64_t mount = 1; mount <= 100; ++mount) {
    EXPECT_OK(threads_->Call<int>(VolumeWork("read m", {mount}),
                                  []() -> absl::StatusOr<int> { return 1; }));
  }
}

TEST_F(VolumeThreadsTest, TheQueueIsBounded) {
  Make(1, /*queue_max=*/2, absl::Minutes(5));
  gate_->Hang();
  const auto task = [gate = gate_] { gate->Pass(); };
  ASSERT_OK(threads_->Submit("read a", task));
  gate_->AwaitHeld(1);
  ASSERT_OK(threads_->Submit("read b", task));
  ASSERT_OK(threads_->Submit("read c", task));
  EXPECT_EQ(threads_->state().queued, 2u);
  EXPECT_THAT(threads_->Submit("read d", task),
              AllOf(StatusIs(absl::StatusCode::kUnavailable, HasSubstr("volume_queue_max")),
                    ReasonIs(Reason::kVolumeBusy, ::testing::_)));
}

TEST_F(VolumeThreadsTest, ACallThatCannotBeginIsTakenOutOfTheQueue) {
  Make(1, 16, absl::Minutes(5));
  gate_->Hang();
  ASSERT_OK(threads_->Submit("read a", [gate = gate_] { gate->Pass(); }));
  gate_->AwaitHeld(1);
  EXPECT_THAT(threads_->Call<int>("read b", []() -> absl::StatusOr<int> { return 1; },
                                  {.silence = absl::Milliseconds(1)}),
              ReasonIs(Reason::kVolumeBusy, HasSubstr("read b")));
  EXPECT_EQ(threads_->state().queued, 0u);
}

TEST_F(VolumeThreadsTest, WorkThatGetsOnIsNotWaitedForLongerThanIsSaid) {
  Make(1, 16, absl::Minutes(5));
  const auto end = std::make_shared<std::atomic<bool>>(false);
  const auto work = [end]() -> absl::StatusOr<int> {
    while (!*end) VolumeThreads::Beat("list ever more");
    return 1;
  };
  EXPECT_THAT(threads_->Call<int>("list", work, {.total = absl::Milliseconds(20)}),
              ReasonIs(Reason::kVolumeStuck, HasSubstr("list was not answered within 20ms")));
  *end = true;
}

TEST_F(VolumeThreadsTest, WorkThatGetsOnIsNotStuck) {
  Make(1);
  absl::Notification beaten;
  absl::Notification looked;
  ASSERT_OK(threads_->Submit("scan", [&] {
    // Long after the call began.
    const absl::Time began = SteadyNow();
    while (SteadyNow() - began < kStall) {
    }
    VolumeThreads::Beat("list a");
    beaten.Notify();
    looked.WaitForNotification();
  }));
  beaten.WaitForNotification();
  const uint32_t stuck = threads_->state().stuck;
  looked.Notify();
  EXPECT_EQ(stuck, 0u);
  EXPECT_OK(threads_->Call<int>("stat a", []() -> absl::StatusOr<int> { return 1; }));
}

TEST_F(VolumeThreadsTest, ACallOnAThreadOfTheRootIsMadeThere) {
  Make(1);
  EXPECT_OK(threads_->Call<int>("outer", [&]() -> absl::StatusOr<int> {
    return threads_->Call<int>("inner", []() -> absl::StatusOr<int> { return 3; });
  }));
}

TEST_F(VolumeThreadsTest, ShutdownWakesWhoWaitsAndLetsStuckThreadsBe) {
  Make(1, 16, absl::Minutes(5));
  gate_->Hang();
  absl::StatusOr<int> answer = 0;
  ASSERT_OK_AND_ASSIGN(Thread waiter,
                       Thread::Start("waiter", [&] { answer = CallHanging("stat a"); }));
  gate_->AwaitHeld(1);
  threads_->Shutdown();
  waiter.Join();
  EXPECT_THAT(answer, ReasonIs(Reason::kDraining, ::testing::_));
  EXPECT_THAT(CallHanging("stat b"), ReasonIs(Reason::kDraining, ::testing::_));
  threads_.reset();  // does not wait for it either
}

TEST_F(VolumeThreadsTest, DisposalsRunWhileEveryThreadHangs) {
  Make(1, 1, absl::Minutes(5));
  gate_->Hang();
  ASSERT_OK(threads_->Submit("read a", [gate = gate_] { gate->Pass(); }));
  gate_->AwaitHeld(1);
  absl::Notification closed;
  threads_->Dispose({}, [&] { closed.Notify(); });
  closed.WaitForNotification();
}

TEST_F(VolumeThreadsTest, OptionsHaveBounds) {
  EXPECT_THAT(VolumeThreads::Create("/", {.threads = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 to 64")));
  EXPECT_THAT(VolumeThreads::Create("/", {.threads = 65}),
              ReasonIs(Reason::kInvalidRequest, ::testing::_));
  EXPECT_OK(VolumeThreads::Create("/", {.threads = 64, .queue_max = 65'536}));
  EXPECT_THAT(VolumeThreads::Create("/", {.queue_max = 65'537}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 to 65536")));
}

}  // namespace
}  // namespace weightd::testing
