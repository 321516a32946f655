#include "daemon/residency/deferred_writer.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/residency/saved_state.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class DeferredWriterTest : public ::testing::Test {
 protected:
  void Start(absl::Duration interval, absl::Duration renewal = absl::InfiniteDuration()) {
    writer_ = std::make_unique<DeferredWriter>(
        [this] { return StoreSavedState(path_, Snapshot()); },
        [this](const absl::Status& status) { failures_.push_back(status); }, interval, renewal);
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
  std::vector<absl::Status> failures_;  // the writer's thread's; read it when the writer is gone
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

// The disk was full for a while: the pin is not lost, and the log has one line of it.
TEST_F(DeferredWriterTest, FailedWriteIsTriedAgainAndToldOnce) {
  std::ofstream(dir_.File("state")) << "in the way of the directory";
  Start(absl::Milliseconds(1));
  writer_->Changed(/*at_once=*/true);
  AwaitSnapshots(3);
  fs::remove(dir_.File("state"));
  writer_.reset();
  EXPECT_TRUE(fs::exists(path_));
  ASSERT_THAT(failures_, SizeIs(1));
  EXPECT_THAT(failures_[0].message(), HasSubstr(path_));
}

}  // namespace
}  // namespace weightd::testing
