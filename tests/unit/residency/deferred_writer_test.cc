#include "daemon/residency/deferred_writer.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/check.h"
#include "daemon/residency/saved_state.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class DeferredWriterTest : public ::testing::Test {
 protected:
  void Start(absl::Duration interval, absl::Duration renewal = absl::InfiniteDuration()) {
    auto writer = DeferredWriter::Start(
        {.format = [this] { return FormatSavedState(Snapshot()); },
         .store =
             [path = path_](const std::string& content) { return StoreSavedState(path, content); },
         .on_change = [this](const absl::Status& status) { told_.push_back(status); }},
        {.interval = interval, .renewal = renewal});
    WEIGHTD_CHECK(writer.ok());
    writer_ = *std::move(writer);
  }
  // Each has one more pin than the one before.
  SavedState Snapshot() {
    absl::MutexLock lock(&mu_);
    ++snapshot_count_;
    SavedState state;
    for (int i = 0; i < snapshot_count_; ++i) state.pins.push_back({absl::StrCat(i), "", "host"});
    return state;
  }
  void AwaitSnapshots(int count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return snapshot_count_ >= count; };
    mu_.Await(absl::Condition(&enough));
  }
  size_t StoredPins() const {
    const auto state = LoadSavedState(path_);
    EXPECT_OK(state);
    return state->pins.size();
  }

  TempDir dir_;
  const std::string path_ = dir_.File("state/state.json");
  absl::Mutex mu_;
  int snapshot_count_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<absl::Status> told_;  // the writer's thread's; read it when the writer is gone
  std::unique_ptr<DeferredWriter> writer_;
};

TEST_F(DeferredWriterTest, WithoutAChangeNothingIsWritten) {
  Start(absl::InfiniteDuration());
  writer_.reset();
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(DeferredWriterTest, WhatMattersIsWrittenAtOnce) {
  Start(absl::InfiniteDuration());
  writer_->Changed(/*at_once=*/true);
  AwaitSnapshots(1);
  writer_->Changed(/*at_once=*/true);
  AwaitSnapshots(2);
  writer_.reset();
  EXPECT_EQ(StoredPins(), 2);
}

TEST_F(DeferredWriterTest, TheRestWaitsForTheIntervalOrTheEnd) {
  Start(absl::InfiniteDuration());
  writer_->Changed(/*at_once=*/false);
  writer_->Changed(/*at_once=*/false);
  writer_.reset();
  EXPECT_EQ(StoredPins(), 1);
  Start(absl::Milliseconds(1));
  writer_->Changed(/*at_once=*/false);
  AwaitSnapshots(2);
  writer_.reset();
  EXPECT_EQ(StoredPins(), 2);
}

// What has a time until which it holds.
TEST_F(DeferredWriterTest, IsWrittenAnewThoughNothingChanged) {
  Start(absl::Milliseconds(1), /*renewal=*/absl::Milliseconds(2));
  writer_->Changed(/*at_once=*/true);
  AwaitSnapshots(3);
}

// The disk was full for a while: the pin is not lost, and the log has a line of it and one of its
// end.
TEST_F(DeferredWriterTest, FailedWriteIsTriedAgainAndToldOnce) {
  std::ofstream(dir_.File("state")) << "in the way of the directory";
  Start(absl::Milliseconds(1));
  writer_->Changed(/*at_once=*/true);
  AwaitSnapshots(3);
  EXPECT_THAT(writer_->state().error.message(), HasSubstr(path_));
  EXPECT_LE(writer_->state().failing_since, absl::Now());
  fs::remove(dir_.File("state"));
  EXPECT_TRUE(WaitUntil([this] { return writer_->state().error.ok(); }));
  EXPECT_LE(writer_->state().stored_time, absl::Now());
  EXPECT_OK(writer_->Stop());
  EXPECT_TRUE(fs::exists(path_));
  ASSERT_THAT(told_, SizeIs(2));
  EXPECT_THAT(told_[0].message(), HasSubstr(path_));
  EXPECT_OK(told_[1]);
}

TEST_F(DeferredWriterTest, WhoAsksIsToldWhetherItIsOnTheDisk) {
  Start(absl::InfiniteDuration());
  EXPECT_OK(writer_->Flush(absl::Minutes(1)));
  EXPECT_EQ(StoredPins(), 1);
  EXPECT_OK(writer_->Flush(absl::Minutes(1)));
  EXPECT_EQ(StoredPins(), 2);
  fs::remove_all(dir_.File("state"));
  std::ofstream(dir_.File("state")) << "in the way of the directory";
  const absl::Status failed = writer_->Flush(absl::Minutes(1));
  EXPECT_THAT(failed.message(), HasSubstr(path_));
  fs::remove(dir_.File("state"));
  EXPECT_OK(writer_->Flush(absl::Minutes(1))) << "a directory that comes later";
  EXPECT_EQ(StoredPins(), 4);
}

// A start says what a pin would meet, and writes nothing over.
TEST_F(DeferredWriterTest, ProbeTellsWithoutWriting) {
  const auto start = [this] {
    auto writer = DeferredWriter::Start(
        {.format = [] { return FormatSavedState({}); },
         .store = [path = path_](const std::string& text) { return StoreSavedState(path, text); },
         .probe = [path = path_] { return ProbeSavedState(path); },
         .on_change = [this](const absl::Status& status) { told_.push_back(status); }},
        {.interval = absl::Milliseconds(1)});
    WEIGHTD_CHECK(writer.ok());
    writer_ = *std::move(writer);
    EXPECT_TRUE(writer_->AwaitProbe(absl::Minutes(1)));
  };
  start();
  EXPECT_OK(writer_->state().error);
  EXPECT_OK(writer_->Stop());
  EXPECT_TRUE(fs::is_empty(dir_.File("state")));
  EXPECT_THAT(told_, SizeIs(0));
  fs::remove(dir_.File("state"));
  std::ofstream(dir_.File("state")) << "in the way of the directory";
  start();
  EXPECT_THAT(writer_->state().error.message(), HasSubstr(path_));
  fs::remove(dir_.File("state"));
  EXPECT_TRUE(WaitUntil([this] { return writer_->state().error.ok(); }));
  EXPECT_OK(writer_->Stop());
  EXPECT_THAT(told_, SizeIs(2));
}

TEST_F(DeferredWriterTest, LastAttemptThatFailsIsSaid) {
  std::ofstream(dir_.File("state")) << "in the way of the directory";
  Start(absl::InfiniteDuration());
  writer_->Changed(/*at_once=*/false);
  EXPECT_THAT(writer_->Stop().message(), HasSubstr(path_));
}

// A file on a volume that does not answer.
class HungWriterTest : public ::testing::Test {
 protected:
  // The volume's, which outlives the writer.
  struct Volume {
    absl::Notification reached;
    absl::Notification answers;
    absl::Notification left;
  };
  HungWriterTest() {
    auto writer = DeferredWriter::Start(
        {.format = [] { return std::string("content"); },
         .store =
             [volume = volume_](const std::string&) {
               volume->reached.Notify();
               volume->answers.WaitForNotification();
               volume->left.Notify();
               return absl::OkStatus();
             },
         .on_change = [](const absl::Status&) { ADD_FAILURE() << "the owner is gone"; }},
        {.interval = absl::InfiniteDuration()});
    WEIGHTD_CHECK(writer.ok());
    writer_ = *std::move(writer);
  }
  ~HungWriterTest() override {
    if (!volume_->answers.HasBeenNotified()) volume_->answers.Notify();
    volume_->left.WaitForNotification();
  }

  const std::shared_ptr<Volume> volume_ = std::make_shared<Volume>();
  std::unique_ptr<DeferredWriter> writer_;
};

TEST_F(HungWriterTest, NobodyWaitsLongerThanTheySay) {
  EXPECT_EQ(writer_->Flush(absl::Milliseconds(50)).code(), absl::StatusCode::kDeadlineExceeded);
  volume_->reached.WaitForNotification();
  // It is known to hang: the next one, who would have more time, does not wait for all of it.
  EXPECT_EQ(writer_->Flush(absl::Milliseconds(1)).code(), absl::StatusCode::kDeadlineExceeded);
  writer_->Changed(/*at_once=*/true);
  EXPECT_EQ(writer_->Stop(absl::Milliseconds(10)).code(), absl::StatusCode::kDeadlineExceeded);
  writer_.reset();
}

TEST_F(HungWriterTest, WriterThatIsGoneCallsNobodyWhenTheVolumeComesBack) {
  writer_->Changed(/*at_once=*/true);
  volume_->reached.WaitForNotification();
  (void)writer_->Stop(absl::ZeroDuration());
  writer_.reset();
  volume_->answers.Notify();
}

}  // namespace
}  // namespace weightd::testing
