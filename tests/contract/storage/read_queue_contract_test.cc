// What every ReadQueue does, run on io_uring, on pread and on the one in memory.

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "common/align.h"
#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/contract/storage/read_queue_contract.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_P(ReadQueueContractTest, ReadsExactlyTheRangeAtEveryAlignment) {
  constexpr uint64_t kFileBytes = 3 * kMiB + 1577;
  const std::string content = PatternBytes(kFileBytes);
  const auto file = AddFile(content);
  const auto queue = MakeQueue();
  for (const ReadMode mode : Modes(*file)) {
    const uint64_t step = mode == ReadMode::kDirect ? file->direct_alignment() : 1;
    for (const uint64_t offset : {0 * step, step, 3 * step, AlignDown(kMiB + 12'345, step)}) {
      for (const uint64_t length : {1UL, 511UL, 512UL, 4097UL, 65'536UL, 1'048'577UL}) {
        AlignedBuffer buffer(2 * kMiB);
        const ReadDone done = ReadOne(*queue, {.file = file.get(),
                                               .offset = offset,
                                               .length = length,
                                               .buffer = buffer.span(),
                                               .mode = mode,
                                               .tag = 99});
        ASSERT_OK(done.status) << offset << " " << length;
        EXPECT_EQ(done.tag, 99U);
        EXPECT_FALSE(done.buffered_instead);
        ASSERT_TRUE(buffer.Bytes(0, length) == content.substr(offset, length));
      }
    }
  }
}

// The last block of a file is hardly ever a multiple of the alignment; a direct read of it asks
// past the end and comes back short, which is whole.
TEST_P(ReadQueueContractTest, ReadsTheTailOfAFile) {
  const std::string content = PatternBytes(kMiB + 1577);
  const auto file = AddFile(content);
  const auto queue = MakeQueue();
  for (const ReadMode mode : Modes(*file)) {
    for (const uint64_t offset : {uint64_t{0}, kMiB - 4096, kMiB}) {
      AlignedBuffer buffer(2 * kMiB);
      const uint64_t length = content.size() - offset;
      ASSERT_OK(ReadOne(*queue, {.file = file.get(),
                                 .offset = offset,
                                 .length = length,
                                 .buffer = buffer.span(),
                                 .mode = mode})
                    .status);
      EXPECT_TRUE(buffer.Bytes(0, length) == content.substr(offset));
    }
  }
}

TEST_P(ReadQueueContractTest, LeavesBufferedMemoryBehindTheLengthAlone) {
  const auto file = AddFile(PatternBytes(8192));
  const auto queue = MakeQueue();
  AlignedBuffer buffer(8192);
  ASSERT_OK(ReadOne(*queue, {.file = file.get(),
                             .length = 1000,
                             .buffer = buffer.span(),
                             .mode = ReadMode::kBuffered})
                .status);
  EXPECT_TRUE(buffer.Bytes(1000, 8192 - 1000) == std::string(8192 - 1000, '\xEE'));
}

TEST_P(ReadQueueContractTest, ManyInFlightFinishInAnyOrderWithTheirOwnBytes) {
  constexpr uint64_t kBlockBytes = 64 * kKiB;
  constexpr uint64_t kBlocks = 64;
  const std::string content = PatternBytes(kBlocks * kBlockBytes);
  const auto file = AddFile(content);
  for (const ReadMode mode : Modes(*file)) {
    AlignedBuffer buffer(content.size());
    const auto queue = MakeQueue({.depth = kBlocks});
    for (uint64_t i = 0; i < kBlocks; ++i) {
      const uint64_t block = i * 37 % kBlocks;
      ASSERT_OK(queue->Submit({.file = file.get(),
                               .offset = block * kBlockBytes,
                               .length = kBlockBytes,
                               .buffer = buffer.span().subspan(block * kBlockBytes, kBlockBytes),
                               .mode = mode,
                               .tag = 1000 + block}));
    }
    const auto results = Drain(*queue);
    ASSERT_EQ(results.size(), kBlocks);
    for (const auto& [tag, done] : results) EXPECT_OK(done.status) << tag;
    EXPECT_EQ(results.begin()->first, 1000U);
    EXPECT_TRUE(buffer.Bytes(0, content.size()) == content);
  }
}

TEST_P(ReadQueueContractTest, ReadsManyFilesAndAlsoAfterTheyWereClosed) {
  AlignedBuffer buffer(4096);
  const auto queue = MakeQueue({.depth = 2});
  for (uint64_t i = 0; i < 100; ++i) {
    const std::string content = PatternBytes(1000, 8 * 1000 * i);
    const auto file = AddFile(content);
    ASSERT_OK(ReadOne(*queue, {.file = file.get(),
                               .length = 1000,
                               .buffer = buffer.span(),
                               .mode = ReadMode::kBuffered,
                               .tag = i})
                  .status);
    ASSERT_TRUE(buffer.Bytes(0, 1000) == content) << i;
  }
}

// Files come and go while the queue stays busy: descriptors and addresses are used again.
TEST_P(ReadQueueContractTest, NeverMixesFilesUpWhileBusy) {
  constexpr uint64_t kFiles = 300;
  AlignedBuffer memory(kFiles * 4096);
  const auto queue = MakeQueue({.depth = 3});
  std::map<uint64_t, std::shared_ptr<File>> open;
  uint64_t next = 0;
  const auto submit_next = [&] {
    const uint64_t i = next++;
    open[i] = AddFile(PatternBytes(1000, 8 * 1000 * i));
    EXPECT_OK(queue->Submit({.file = open[i].get(),
                             .length = 1000,
                             .buffer = memory.span().subspan(i * 4096, 4096),
                             .mode = ReadMode::kBuffered,
                             .tag = i}));
  };
  for (int i = 0; i < 3; ++i) submit_next();
  while (queue->in_flight() > 0) {
    ASSERT_OK(queue->Poll(absl::InfiniteDuration(), [&](const ReadDone& done) {
      EXPECT_OK(done.status);
      EXPECT_TRUE(memory.Bytes(done.tag * 4096, 1000) == PatternBytes(1000, 8 * 1000 * done.tag));
      open.erase(done.tag);
      if (next < kFiles) submit_next();
    }));
  }
  EXPECT_EQ(next, kFiles);
}

TEST_P(ReadQueueContractTest, DoneMaySubmitUntilAWholeFileIsRead) {
  constexpr uint64_t kBlockBytes = 16 * kKiB;
  constexpr uint64_t kBlocks = 300;
  const std::string content = PatternBytes(kBlocks * kBlockBytes);
  const auto file = AddFile(content);
  AlignedBuffer buffer(content.size());
  const auto queue = MakeQueue({.depth = 8});
  uint64_t next = 0;
  const auto submit_next = [&] {
    const uint64_t block = next++;
    EXPECT_OK(queue->Submit({.file = file.get(),
                             .offset = block * kBlockBytes,
                             .length = kBlockBytes,
                             .buffer = buffer.span().subspan(block * kBlockBytes, kBlockBytes),
                             .mode = Modes(*file).back(),
                             .tag = block}));
  };
  while (next < 8) submit_next();
  uint64_t done_count = 0;
  while (queue->in_flight() > 0) {
    ASSERT_OK(queue->Poll(absl::InfiniteDuration(), [&](const ReadDone& done) {
      EXPECT_OK(done.status);
      ++done_count;
      if (next < kBlocks) submit_next();
    }));
  }
  EXPECT_EQ(done_count, kBlocks);
  EXPECT_TRUE(buffer.Bytes(0, content.size()) == content);
}

TEST_P(ReadQueueContractTest, ReadsIntoSlotsAndIntoOtherMemory) {
  const std::string content = PatternBytes(kMiB);
  const auto file = AddFile(content);
  AlignedBuffer first(2 * kMiB);
  AlignedBuffer second(2 * kMiB);
  AlignedBuffer other(2 * kMiB);
  const auto queue = MakeQueue({.slots = {first.span(), second.span()}});
  for (const ReadMode mode : Modes(*file)) {
    ReadRequest request{.file = file.get(), .length = 512 * kKiB, .mode = mode};
    request.slot = 1;
    request.buffer = second.span().subspan(kMiB, kMiB);  // not at the slot's start
    ASSERT_OK(ReadOne(*queue, request).status);
    EXPECT_TRUE(second.Bytes(kMiB, 512 * kKiB) == content.substr(0, 512 * kKiB));
    request.slot = 0;
    request.offset = 512 * kKiB;
    request.buffer = first.span();
    ASSERT_OK(ReadOne(*queue, request).status);
    EXPECT_TRUE(first.Bytes(0, 512 * kKiB) == content.substr(512 * kKiB));
    request.slot = -1;
    request.buffer = other.span();
    ASSERT_OK(ReadOne(*queue, request).status);
    EXPECT_TRUE(other.Bytes(0, 512 * kKiB) == content.substr(512 * kKiB));
  }
}

TEST_P(ReadQueueContractTest, SaysWhereATruncatedFileEnds) {
  for (const ReadMode mode : {ReadMode::kBuffered, ReadMode::kDirect}) {
    const auto file = AddFile(PatternBytes(kMiB));
    if (mode == ReadMode::kDirect && file->direct_alignment() == 0) continue;
    const auto queue = MakeQueue();
    AlignedBuffer buffer(kMiB);
    ReadRequest request{.file = file.get(),
                        .offset = 8192,
                        .length = 65'536,
                        .buffer = buffer.span(),
                        .mode = mode};
    world_->Truncate("model.safetensors", 8192 + 5000);
    EXPECT_THAT(ReadOne(*queue, request).status,
                AllOf(StatusIs(absl::StatusCode::kDataLoss,
                               "read model.safetensors at 8192: file ends after 5000 of 65536 "
                               "bytes"),
                      ReasonIs(Reason::kCheckpointChanged, HasSubstr(""))));
    world_->Truncate("model.safetensors", 100);
    EXPECT_THAT(ReadOne(*queue, request).status,
                ReasonIs(Reason::kCheckpointChanged, HasSubstr("at 8192: file ends after 0 of")));
    // The queue goes on.
    request.offset = 0;
    request.length = 100;
    EXPECT_OK(ReadOne(*queue, request).status);
    EXPECT_TRUE(buffer.Bytes(0, 100) == PatternBytes(100));
  }
}

TEST_P(ReadQueueContractTest, PollWithNothingInFlightReturnsAtOnce) {
  const auto queue = MakeQueue();
  EXPECT_OK(queue->Poll(absl::InfiniteDuration(), [](const ReadDone&) { FAIL(); }));
  EXPECT_EQ(queue->in_flight(), 0U);
}

TEST_P(ReadQueueContractTest, PollWithoutTimeoutFinishesEventually) {
  const auto file = AddFile(PatternBytes(4096));
  const auto queue = MakeQueue();
  AlignedBuffer buffer(4096);
  ASSERT_OK(queue->Submit(
      {.file = file.get(), .length = 4096, .buffer = buffer.span(), .mode = ReadMode::kBuffered}));
  while (queue->in_flight() > 0) {
    ASSERT_OK(
        queue->Poll(absl::ZeroDuration(), [](const ReadDone& done) { EXPECT_OK(done.status); }));
  }
  EXPECT_TRUE(buffer.Bytes(0, 4096) == PatternBytes(4096));
}

TEST_P(ReadQueueContractTest, DestroyingItWaitsForWhatIsInFlight) {
  const std::string content = PatternBytes(8 * kMiB);
  const auto file = AddFile(content);
  AlignedBuffer buffer(content.size());
  for (const ReadMode mode : Modes(*file)) {
    auto queue = MakeQueue({.depth = 8});
    for (uint64_t i = 0; i < 8; ++i) {
      ASSERT_OK(queue->Submit({.file = file.get(),
                               .offset = i * kMiB,
                               .length = kMiB,
                               .buffer = buffer.span().subspan(i * kMiB, kMiB),
                               .mode = mode}));
    }
    queue.reset();
    std::fill(buffer.span().begin(), buffer.span().end(), std::byte{0x11});
  }
  EXPECT_TRUE(buffer.Bytes(0, content.size()) == std::string(content.size(), '\x11'));
}

TEST_P(ReadQueueContractTest, ReadsNearTheEndOfASparseFileBeyondFourGib) {
  constexpr uint64_t kAt = 5 * kGiB;
  world_->AddFile("model.safetensors", "");
  world_->Write("model.safetensors", kAt, PatternBytes(10'000));
  const auto file = Open();
  ASSERT_EQ(file->identity().size_bytes, kAt + 10'000);
  const auto queue = MakeQueue();
  for (const ReadMode mode : Modes(*file)) {
    AlignedBuffer buffer(kMiB);
    ASSERT_OK(ReadOne(*queue, {.file = file.get(),
                               .offset = kAt - 8192,
                               .length = 8192 + 10'000,
                               .buffer = buffer.span(),
                               .mode = mode})
                  .status);
    EXPECT_TRUE(buffer.Bytes(0, 8192) == std::string(8192, '\0'));
    EXPECT_TRUE(buffer.Bytes(8192, 10'000) == PatternBytes(10'000));
  }
}

INSTANTIATE_TEST_SUITE_P(AllEngines, ReadQueueContractTest, ::testing::ValuesIn(AllEngines()),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace weightd::testing
