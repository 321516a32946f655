#include <atomic>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "common/executor.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/executor/simulated_executor.h"

namespace weightd::testing {
namespace {

constexpr absl::Duration kForever = absl::InfiniteDuration();

struct ExecutorCase {
  std::string name;
  std::function<std::unique_ptr<Executor>()> make;
};
// For CTest's names.
void PrintTo(const ExecutorCase& it, std::ostream* out) { *out << it.name; }

// What every Executor does.
class ExecutorContractTest : public ::testing::TestWithParam<ExecutorCase> {
 protected:
  TaskHandle Start(std::function<void()> body) {
    absl::StatusOr<TaskHandle> task = executor_->Start("task", std::move(body));
    EXPECT_OK(task);
    return *std::move(task);
  }

  const std::unique_ptr<Executor> executor_ = GetParam().make();
  Executor& it_ = *executor_;
  absl::Mutex mu_;
  int turn_ ABSL_GUARDED_BY(mu_) = 0;
};

TEST_P(ExecutorContractTest, JoinReturnsAfterTheBody) {
  std::atomic<bool> ended = false;
  TaskHandle task = Start([&] {
    it_.Sleep(absl::Milliseconds(1));
    ended = true;
  });
  EXPECT_TRUE(task.joinable());
  task.Join();
  EXPECT_TRUE(ended);
  EXPECT_FALSE(task.joinable());
  task.Join();
}

TEST_P(ExecutorContractTest, ATaskIsJoinedWhenItsHandleGoes) {
  std::atomic<int> ended = 0;
  {
    const TaskHandle task = Start([&] { ++ended; });
    TaskHandle moved = Start([&] { ++ended; });
    const TaskHandle to = std::move(moved);
    EXPECT_FALSE(moved.joinable());  // NOLINT(bugprone-use-after-move): that is what is asked
  }
  EXPECT_EQ(ended, 2);
  TaskHandle none;
  none.Join();
}

TEST_P(ExecutorContractTest, WhatTheBodyHoldsGoesBeforeTheJoinReturns) {
  const auto held = std::make_shared<int>(1);
  TaskHandle task = Start([held] {});
  task.Join();
  EXPECT_EQ(held.use_count(), 1);
}

TEST_P(ExecutorContractTest, TasksTakeTurnsByWaitingForEachOther) {
  constexpr int kTasks = 3;
  constexpr int kRounds = 50;
  std::vector<TaskHandle> tasks;
  for (int i = 0; i < kTasks; ++i) {
    tasks.push_back(Start([this, i] {
      for (int round = 0; round < kRounds; ++round) {
        absl::MutexLock lock(&mu_);
        const auto mine = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return turn_ % kTasks == i; };
        EXPECT_TRUE(it_.Await(mu_, absl::Condition(&mine), kForever));
        EXPECT_TRUE(mine());
        ++turn_;
      }
    }));
  }
  absl::MutexLock lock(&mu_);
  const auto all = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return turn_ == kTasks * kRounds; };
  EXPECT_TRUE(it_.Await(mu_, absl::Condition(&all), kForever));
}

TEST_P(ExecutorContractTest, AwaitGivesUpAfterItsTimeout) {
  absl::MutexLock lock(&mu_);
  const auto never = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return turn_ < 0; };
  const absl::Time start = it_.SteadyNow();
  EXPECT_FALSE(it_.Await(mu_, absl::Condition(&never), absl::Milliseconds(5)));
  EXPECT_GE(it_.SteadyNow() - start, absl::Milliseconds(5));
  EXPECT_FALSE(it_.Await(mu_, absl::Condition(&never), absl::ZeroDuration()));
  EXPECT_FALSE(it_.Await(mu_, absl::Condition(&never), -absl::Seconds(1)));
  mu_.AssertHeld();
}

TEST_P(ExecutorContractTest, AwaitReturnsAtOnceWhereTheConditionHolds) {
  absl::MutexLock lock(&mu_);
  const auto holds = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return turn_ == 0; };
  EXPECT_TRUE(it_.Await(mu_, absl::Condition(&holds), kForever));
  EXPECT_TRUE(it_.Await(mu_, absl::Condition(&holds), absl::ZeroDuration()));
  mu_.AssertHeld();
}

TEST_P(ExecutorContractTest, TheLockIsFreeMeanwhile) {
  TaskHandle task = Start([this] {
    const absl::MutexLock lock(&mu_);
    turn_ = 7;
  });
  absl::MutexLock lock(&mu_);
  const auto set = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return turn_ == 7; };
  EXPECT_TRUE(it_.Await(mu_, absl::Condition(&set), kForever));
}

TEST_P(ExecutorContractTest, SleepTakesItsTime) {
  const absl::Time start = it_.SteadyNow();
  it_.Sleep(absl::Milliseconds(3));
  EXPECT_GE(it_.SteadyNow() - start, absl::Milliseconds(3));
  it_.Sleep(absl::ZeroDuration());
  it_.Sleep(-absl::Seconds(1));
  absl::Duration in_task;
  Start([&] {
    const absl::Time began = it_.SteadyNow();
    it_.Sleep(absl::Milliseconds(3));
    in_task = it_.SteadyNow() - began;
  }).Join();
  EXPECT_GE(in_task, absl::Milliseconds(3));
}

TEST_P(ExecutorContractTest, ATaskStartsAndJoinsOthers) {
  int ended = 0;
  TaskHandle outer = Start([&] {
    TaskHandle inner = Start([&] {
      it_.Sleep(absl::Milliseconds(1));
      ++ended;
    });
    inner.Join();
    EXPECT_EQ(ended, 1);
    ++ended;
  });
  outer.Join();
  EXPECT_EQ(ended, 2);
}

std::unique_ptr<Executor> MakeSimulated() {
  auto random = std::make_shared<std::mt19937_64>(3);
  return std::make_unique<SimulatedExecutor>(
      [random](uint64_t count) { return (*random)() % count; });
}

INSTANTIATE_TEST_SUITE_P(
    All, ExecutorContractTest,
    ::testing::Values(ExecutorCase{"Threads", [] { return std::make_unique<ThreadExecutor>(); }},
                      ExecutorCase{"Simulated", MakeSimulated}),
    [](const auto& it) { return it.param.name; });

// Of the simulated one alone.

TEST(SimulatedExecutorTest, NothingGoesOnUntilItIsTold) {
  SimulatedExecutor executor([](uint64_t) { return 0; });
  std::string log;
  const auto twice = [&log](const char* name) {
    log += name;
    SimulatedExecutor::Yield();
    log += name;
  };
  TaskHandle a = *executor.Start("a", [&] { twice("a"); });
  TaskHandle b = *executor.Start("b", [&] { twice("b"); });
  EXPECT_EQ(executor.ready(), 2);
  EXPECT_EQ(log, "");
  EXPECT_TRUE(executor.Step());
  EXPECT_EQ(log, "a");
  while (executor.Step()) {
  }
  EXPECT_EQ(log, "aabb");
  executor.Launch("c", [&] { twice("c"); });
  EXPECT_EQ(log, "aabbc");
  EXPECT_TRUE(executor.Step());
}

TEST(SimulatedExecutorTest, TimePassesWhenItIsTold) {
  SimulatedExecutor executor([](uint64_t) { return 0; });
  bool woke = false;
  executor.Launch("sleeper", [&] {
    executor.Sleep(absl::Hours(1));
    woke = true;
  });
  EXPECT_FALSE(executor.Step());
  executor.Advance(absl::Minutes(59));
  EXPECT_EQ(executor.ready(), 0);
  EXPECT_TRUE(executor.SkipToNextWake());
  EXPECT_TRUE(executor.Step());
  EXPECT_TRUE(woke);
  EXPECT_FALSE(executor.SkipToNextWake());
}

TEST(SimulatedExecutorTest, StartFailsWhereItIsTold) {
  SimulatedExecutor executor([](uint64_t) { return 0; });
  executor.set_start_fault([] { return absl::ResourceExhaustedError("no more"); });
  EXPECT_TRUE(absl::IsResourceExhausted(executor.Start("none", [] {}).status()));
  EXPECT_EQ(executor.ready(), 0);
}

TEST(SimulatedExecutorDeathTest, SaysWhoWaitsWhenNothingGoesOn) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  SimulatedExecutor executor([](uint64_t) { return 0; });
  absl::Mutex mu;
  bool never = false;
  EXPECT_EXIT(
      {
        auto task = executor.Start("stuck", [&] {
          absl::MutexLock lock(&mu);
          executor.Await(mu, absl::Condition(&never), kForever);
        });
        task->Join();
      },
      ::testing::ExitedWithCode(1), "waiting are: stuck");
}

}  // namespace
}  // namespace weightd::testing
