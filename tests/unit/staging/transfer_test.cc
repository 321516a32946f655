// The way of a job, through Reader::Run: what it reads, copies and leaves behind.

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/wait_until.h"
#include "tests/unit/staging/staging_rig.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using Completion = MemoryDeviceOptions::Completion;

RigOptions OnHost() {
  RigOptions options;
  options.device.kind = DeviceKind::kHost;
  return options;
}

void ExpectNothingInFlight(StagingRig& rig) {
  EXPECT_EQ(rig.device().copies_in_flight(), 0);
  rig.Destroy();
  EXPECT_THAT(rig.device().violations(), IsEmpty());
}

TEST(TransferTest, BytesArriveInAnyOrderOfCompletion) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    RigOptions options = seed % 2 == 0 ? RigOptions() : OnHost();
    options.reads = {.seed = seed, .latency_steps_max = static_cast<uint32_t>(1 + seed % 9)};
    options.depth = static_cast<uint32_t>(1 + seed % 7);
    options.slot_count = static_cast<uint32_t>(1 + seed % 5);
    options.device.copies_per_poll = static_cast<uint32_t>(1 + seed % 3);
    options.verify = seed % 3 == 0 ? VerifyMode::kNone : VerifyMode::kFull;
    options.encrypted = seed % 4 == 0;
    StagingRig rig(options, RandomManifest(random, 200'000));
    ASSERT_OK(rig.Run());
    EXPECT_TRUE(rig.Equal());
    ExpectNothingInFlight(rig);
  }
}

// MemoryDevice reads a copy's source when the copy ends: a buffer that is filled again before
// that would show in the bytes.
TEST(TransferTest, SlotsAreReusedOnlyAfterTheirCopy) {
  RigOptions options;
  options.slot_count = 2;
  options.depth = 8;
  options.device.copies_per_poll = 1;
  options.reads.latency_steps_max = 1;
  StagingRig rig(options, ExampleManifest());
  ASSERT_OK(rig.Run());
  EXPECT_TRUE(rig.Equal());
}

TEST(TransferTest, OneSlotIsEnough) {
  RigOptions options;
  options.slot_count = 1;
  StagingRig rig(options, ExampleManifest());
  ASSERT_OK(rig.Run());
  EXPECT_TRUE(rig.Equal());
}

TEST(TransferTest, CongruentBlocksNeedNoCopy) {
  RigOptions options = OnHost();
  StagingRig rig(options, ExampleManifest());
  rig.device().FailSubmit(1, absl::InternalError("copied"));
  ASSERT_OK_AND_ASSIGN(const StageOutcome outcome, rig.Run());
  EXPECT_TRUE(rig.Equal());
  EXPECT_EQ(outcome.tensors_moved, 1);
}

TEST(TransferTest, ProgressGrowsToTheTotal) {
  for (const RigOptions& options : {RigOptions(), OnHost()}) {
    StagingRig rig(options, ExampleManifest());
    ASSERT_OK_AND_ASSIGN(const StageOutcome outcome, rig.Run());
    EXPECT_EQ(outcome.bytes_read(), 150'003);
    const auto& progress = rig.progress();
    ASSERT_THAT(progress, Not(IsEmpty()));
    EXPECT_GT(progress.size(), 3);
    EXPECT_TRUE(std::is_sorted(progress.begin(), progress.end(), std::less_equal<>()));
    EXPECT_EQ(progress.back(), 150'003);
  }
}

TEST(TransferTest, ReadErrorLeavesNothingInFlight) {
  for (uint64_t nth = 1; nth <= 11; ++nth) {
    RigOptions options = nth % 2 == 0 ? RigOptions() : OnHost();
    options.reads.seed = nth;
    options.reads.faults[nth].error = EIO;
    StagingRig rig(options, ExampleManifest());
    EXPECT_THAT(rig.Run(), AllOf(StatusIs(absl::StatusCode::kDataLoss, HasSubstr("shard-")),
                                 ReasonIs(Reason::kReadFailed, _)));
    ExpectNothingInFlight(rig);
  }
}

TEST(TransferTest, RefusedReadLeavesNothingInFlight) {
  RigOptions options;
  options.faults.refuse[5] = absl::InternalError("no more");
  StagingRig rig(options, ExampleManifest());
  EXPECT_THAT(rig.Run(), StatusIs(absl::StatusCode::kInternal, "no more"));
  ExpectNothingInFlight(rig);
}

TEST(TransferTest, CopyErrorLeavesNothingInFlight) {
  for (uint64_t nth = 1; nth <= 5; ++nth) {
    StagingRig submit(RigOptions(), ExampleManifest());
    submit.device().FailSubmit(nth, absl::InternalError("submit failed"));
    EXPECT_THAT(submit.Run(), StatusIs(absl::StatusCode::kInternal, "submit failed"));
    ExpectNothingInFlight(submit);
    StagingRig copy(RigOptions(), ExampleManifest());
    copy.device().FailCopy(nth, absl::InternalError("copy failed"));
    EXPECT_THAT(copy.Run(), StatusIs(absl::StatusCode::kInternal, "copy failed"));
    ExpectNothingInFlight(copy);
  }
}

TEST(TransferTest, ReaderRunsAgainAfterAnError) {
  RigOptions options;
  options.reads.faults[4].error = EIO;
  StagingRig rig(options, ExampleManifest());
  ASSERT_THAT(rig.Run(), Not(IsOk()));
  ASSERT_OK(rig.Run());
  EXPECT_TRUE(rig.Equal());
}

TEST(TransferTest, FileCutWhileItIsReadIsNoSuccess) {
  StagingRig rig(RigOptions(), ExampleManifest());
  rig.volume().Truncate("shard-0.safetensors", 50'000);
  EXPECT_THAT(rig.Run(), ReasonIs(Reason::kCheckpointChanged, HasSubstr("shard-0")));
  ExpectNothingInFlight(rig);
}

TEST(TransferTest, CancelEndsItWithNothingInFlight) {
  for (const RigOptions& options : {RigOptions(), OnHost()}) {
    StagingRig rig(options, ExampleManifest());
    rig.CancelAtBytes(20'000);
    EXPECT_THAT(rig.Run(),
                AllOf(StatusIs(absl::StatusCode::kCancelled, _), ReasonIs(Reason::kCancelled, _)));
    EXPECT_LT(rig.progress().back(), 150'003);
    ExpectNothingInFlight(rig);
  }
}

TEST(TransferTest, BrokenQueueIsReplaced) {
  RigOptions options;
  options.faults.break_after = 2;
  StagingRig rig(options, ExampleManifest());
  const auto broken = StatusIs(absl::StatusCode::kUnavailable, "read queue broken by the test");
  EXPECT_THAT(rig.Run(), broken);
  EXPECT_FALSE(rig.abandoned());
  ASSERT_OK(rig.Run());
  EXPECT_TRUE(rig.Equal());
  EXPECT_EQ(rig.queues_made(), 2);
  ExpectNothingInFlight(rig);
}

// Whoever waits is told; what the read writes to is kept until it comes back.
TEST(TransferTest, StalledReadEndsTheRunWithItsPlace) {
  for (RigOptions options : {RigOptions(), OnHost()}) {
    const auto comes_back = std::make_shared<std::atomic<bool>>(false);
    options.reads.faults[2].stalls = true;
    options.reads.comes_back = comes_back;
    options.stall_timeout = absl::Milliseconds(100);
    StagingRig rig(options, ExampleManifest());
    EXPECT_THAT(rig.Run(), AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                          HasSubstr("shard-0.safetensors at")),
                                 ReasonIs(Reason::kVolumeStuck, _)));
    EXPECT_TRUE(rig.abandoned());
    EXPECT_TRUE(rig.kept());
    EXPECT_FALSE(rig.kept_plan());
    EXPECT_FALSE(rig.says_plan_kept());
    ASSERT_THAT(rig.stuck(), ::testing::SizeIs(1));
    const StuckStage stuck = rig.stuck().front();
    EXPECT_EQ(stuck.model, "model");
    EXPECT_EQ(stuck.root, rig.volume().root());
    EXPECT_EQ(stuck.file, "shard-0.safetensors");
    EXPECT_EQ(stuck.reads, 1U);
    const bool is_host = !rig.host_memory().empty();
    EXPECT_TRUE(WaitUntil(
        [&] { return rig.stuck().front().bytes <= (is_host ? options.block_bytes : 0); }));
    EXPECT_EQ(rig.stuck().front().bytes > 0, is_host);
    *comes_back = true;
    EXPECT_TRUE(WaitUntil([&] { return !rig.kept(); }));
    EXPECT_THAT(rig.stuck(), IsEmpty());
    ExpectNothingInFlight(rig);
  }
}

// What is not kept may be given back while reads are out.
TEST(TransferTest, ReadsThatComeBackLateWriteToWhatIsKeptAlone) {
  const auto comes_back = std::make_shared<std::atomic<bool>>(false);
  RigOptions options = OnHost();
  for (const uint64_t read : {1, 3, 4}) options.reads.faults[read].stalls = true;
  options.reads.comes_back = comes_back;
  options.stall_timeout = absl::Milliseconds(100);
  StagingRig rig(options, ExampleManifest());
  EXPECT_THAT(rig.Run(), ReasonIs(Reason::kVolumeStuck, _));
  ASSERT_TRUE(rig.kept_parts().has_value());
  const absl::Span<std::byte> memory = rig.host_memory();
  std::vector<bool> is_kept(memory.size());
  for (const absl::Span<std::byte> part : *rig.kept_parts()) {
    const auto begin = is_kept.begin() + (part.data() - memory.data());
    std::fill(begin, begin + static_cast<int64_t>(part.size()), true);
  }
  const auto kept = static_cast<uint64_t>(std::count(is_kept.begin(), is_kept.end(), true));
  EXPECT_GT(kept, 0);
  EXPECT_LT(kept, memory.size() / 2);
  for (size_t i = 0; i < memory.size(); ++i) {
    if (!is_kept[i]) memory[i] = std::byte{0xee};
  }
  *comes_back = true;
  EXPECT_TRUE(WaitUntil([&] { return !rig.kept(); }));
  uint64_t touched = 0;
  for (size_t i = 0; i < memory.size(); ++i) {
    touched += is_kept[i] || memory[i] == std::byte{0xee} ? 0 : 1;
  }
  EXPECT_EQ(touched, 0);
}

// Who cancels does not wait for the volume.
TEST(TransferTest, CancelledRunIsAbandonedWhereItsReadsDoNotComeBack) {
  const auto comes_back = std::make_shared<std::atomic<bool>>(false);
  RigOptions options;
  options.reads.faults[2].stalls = true;
  options.reads.comes_back = comes_back;
  options.stall_timeout = absl::Milliseconds(500);
  StagingRig rig(options, ExampleManifest());
  rig.CancelAtBytes(1);
  EXPECT_THAT(rig.Run(),
              AllOf(StatusIs(absl::StatusCode::kCancelled, _), ReasonIs(Reason::kCancelled, _)));
  EXPECT_TRUE(rig.abandoned());
  EXPECT_TRUE(WaitUntil([&] { return rig.stuck().front().hangs; })) << "it is slow until then";
  *comes_back = true;
  EXPECT_TRUE(WaitUntil([&] { return !rig.kept(); }));
  ExpectNothingInFlight(rig);
}

// A GPU that hangs gives neither an error nor an end.
TEST(TransferTest, StalledCopyEndsTheRun) {
  RigOptions options;
  options.stall_timeout = absl::Milliseconds(100);  // one wait
  options.device.completion = Completion::kOnStep;
  StagingRig rig(options, ExampleManifest());
  EXPECT_THAT(rig.Run(), AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("GPU-")),
                               ReasonIs(Reason::kDeviceFailed, _)));
  ExpectNothingInFlight(rig);
}

TEST(TransferTest, BufferedReadsAreReported) {
  ASSERT_OK_AND_ASSIGN(const StageOutcome direct,
                       StagingRig(RigOptions(), ExampleManifest()).Run());
  EXPECT_EQ(direct.direct_bytes, 150'003);
  EXPECT_EQ(direct.bytes_read(), 150'003);
  EXPECT_THAT(direct.fallbacks, IsEmpty());

  for (const uint32_t alignment : {0, 8192}) {
    RigOptions options;
    options.direct_alignment = alignment;
    StagingRig rig(options, ExampleManifest());
    ASSERT_OK_AND_ASSIGN(const StageOutcome outcome, rig.Run());
    EXPECT_EQ(outcome.buffered_bytes, 150'003);
    EXPECT_THAT(outcome.fallbacks, ::testing::Contains(HasSubstr("page cache")));
    EXPECT_TRUE(rig.Equal());
  }
}

// EINVAL on one direct read: that read goes through the page cache, and the report says so.
TEST(TransferTest, OneRefusedDirectReadIsReported) {
  RigOptions options;
  options.reads.faults[3].error = EINVAL;
  StagingRig rig(options, ExampleManifest());
  ASSERT_OK_AND_ASSIGN(const StageOutcome outcome, rig.Run());
  EXPECT_GT(outcome.buffered_bytes, 0);
  EXPECT_LT(outcome.buffered_bytes, 150'003);
  EXPECT_TRUE(rig.Equal());
}

// The window of a file that the page cache holds is copied out of it, the other file is not.
TEST(TransferTest, CachedWindowsAreReadOutOfThePageCache) {
  for (const RigOptions& options : {RigOptions(), OnHost()}) {
    StagingRig rig(options, ExampleManifest());
    rig.volume().Cache("shard-0.safetensors", 0, uint64_t{1} << 30);
    ASSERT_OK_AND_ASSIGN(const StageOutcome outcome, rig.Run());
    EXPECT_EQ(outcome.cached_bytes, 100'003);
    EXPECT_EQ(outcome.direct_bytes, 50'000);
    EXPECT_THAT(outcome.fallbacks, IsEmpty());
    EXPECT_TRUE(rig.Equal());
  }
}

TEST(TransferTest, ShortReadsAndRetriesChangeNothing) {
  RigOptions options;
  options.reads.faults[1].short_bytes = 1;
  options.reads.faults[2].error = EAGAIN;
  options.reads.faults[4].short_bytes = 5000;
  StagingRig rig(options, ExampleManifest());
  ASSERT_OK(rig.Run());
  EXPECT_TRUE(rig.Equal());
}

TEST(TransferTest, NothingToReadIsDoneAtOnce) {
  Manifest manifest;
  AddShard(manifest, 800, {});
  StagingRig rig(RigOptions(), manifest);
  ASSERT_OK_AND_ASSIGN(const StageOutcome outcome, rig.Run());
  EXPECT_EQ(outcome.bytes_read(), 0);
  EXPECT_THAT(rig.progress(), IsEmpty());
}

}  // namespace
}  // namespace weightd::testing
