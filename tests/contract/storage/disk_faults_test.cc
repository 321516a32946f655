// What both real engines make of a disk that fails: a FUSE file below them gives, out of the
// kernel, what the error table of the read path names (design.md section 6).

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "common/align.h"
#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/contract/storage/one_engine.h"
#include "tests/contract/storage/storage_world.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/storage/descriptor_file.h"
#include "tests/support/storage/faulty_disk.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::ResultOf;
using ::testing::SizeIs;

constexpr uint64_t kFileBytes = 100'000;
constexpr uint32_t kAlignment = 4096;

using Answer = FaultyDisk::Answer;
using DiskRead = FaultyDisk::Read;

bool IsAlignedOrBuffered(const DiskRead& read) {
  return !read.direct || IsAligned(read.offset, kAlignment);
}

int64_t DirectReads(const FaultyDisk& disk) {
  const auto reads = disk.reads();
  return std::count_if(reads.begin(), reads.end(), [](const DiskRead& r) { return r.direct; });
}

class DiskFaultTest : public OneEngineTest {
 protected:
  void SetUp() override {
    OneEngineTest::SetUp();
    if (IsSkipped()) return;
    const auto disk = FaultyDisk::Create("", [](const DiskRead&) { return Answer{}; });
    if (!disk.ok()) GTEST_SKIP() << disk.status();
  }

  // A disk and its file, in the order in which they may end.
  struct Disk {
    std::unique_ptr<FaultyDisk> disk;
    std::unique_ptr<DescriptorFile> file;
  };
  static Disk MakeDisk(FaultyDisk::Reads answer) {
    Disk made;
    made.disk = FaultyDisk::Create(PatternBytes(kFileBytes), std::move(answer)).value();
    made.file = std::make_unique<DescriptorFile>(made.disk->TakeDirect(), made.disk->TakeBuffered(),
                                                 kFileBytes, kAlignment);
    return made;
  }

  ReadRequest Request(const File& file, ReadMode mode, uint64_t offset = 0) {
    std::fill(buffer_.span().begin(), buffer_.span().end(), std::byte{0xEE});
    return {.file = &file,
            .offset = offset,
            .length = kFileBytes - offset,
            .buffer = buffer_.span(),
            .mode = mode};
  }

  ReadRequest BlockRequest(const File& file, ReadMode mode, uint64_t block) {
    return {.file = &file,
            .offset = block * kAlignment,
            .length = kAlignment,
            .buffer = buffer_.span().subspan(block * kAlignment, kAlignment),
            .mode = mode,
            .tag = block};
  }
  // Blocks 0 to count - 1, at once.
  std::map<uint64_t, ReadDone> ReadBlocks(const File& file, ReadMode mode, uint64_t count) {
    std::map<uint64_t, ReadDone> all;
    auto queue = MakeEngine({.depth = 8, .stall_timeout = absl::Seconds(20)});
    EXPECT_OK(queue);
    if (!queue.ok()) return all;
    for (uint64_t i = 0; i < count; ++i) EXPECT_OK((*queue)->Submit(BlockRequest(file, mode, i)));
    while ((*queue)->in_flight() > 0) {
      EXPECT_OK((*queue)->Poll(absl::InfiniteDuration(),
                               [&](const ReadDone& done) { all[done.tag] = done; }));
    }
    return all;
  }

  // A ring asks of its own accord too: for the rest behind the file's end, and again.
  static void ExpectReads(const FaultyDisk& disk, uint64_t count) {
    if (GetParam() == ReadEngine::kPread) {
      EXPECT_THAT(disk.reads(), SizeIs(count));
    } else {
      EXPECT_THAT(disk.reads(), SizeIs(Ge(count)));
    }
  }
  void ExpectContent(const ReadDone& done) {
    EXPECT_OK(done.status);
    EXPECT_TRUE(buffer_.Bytes(0, kFileBytes) == PatternBytes(kFileBytes));
  }

  AlignedBuffer buffer_{1 << 20};
};

// Short reads: of threads alone. Of FUSE, a ring must not read at all (file_system.h); what it
// makes of short reads elsewhere is engine_faults_test.cc's.
using ThreadDiskFaultTest = DiskFaultTest;

TEST_P(ThreadDiskFaultTest, GoesOnAtEveryBoundary) {
  for (const ReadMode mode : {ReadMode::kDirect, ReadMode::kBuffered}) {
    for (const uint32_t sector : {512U, kAlignment, 65536U}) {
      for (const uint32_t bytes : {sector - 1, sector, sector + 1}) {
        const Disk disk = MakeDisk([bytes](const DiskRead&) { return Answer{.bytes_max = bytes}; });
        ExpectContent(ReadOne(Request(*disk.file, mode)));
        EXPECT_THAT(disk.disk->reads(), Each(ResultOf(IsAlignedOrBuffered, true)));
      }
    }
  }
}

// Each length once, each from where the one before ended.
TEST_P(ThreadDiskFaultTest, GoesOnAfterEveryLength) {
  const Disk disk = MakeDisk(
      [](const DiskRead& read) { return Answer{.bytes_max = static_cast<uint32_t>(read.number)}; });
  ExpectContent(ReadOne(Request(*disk.file, ReadMode::kBuffered)));
  EXPECT_GT(disk.disk->reads().size(), 400U);
}

TEST_P(ThreadDiskFaultTest, ReadsBufferedFromWhereDirectIsRefused) {
  const Disk disk = MakeDisk([](const DiskRead& read) {
    return Answer{.error = read.direct && read.offset > 0 ? EINVAL : 0,
                  .bytes_max = 2 * kAlignment};
  });
  const ReadDone done = ReadOne(Request(*disk.file, ReadMode::kDirect));
  ExpectContent(done);
  EXPECT_TRUE(done.buffered_instead);
  // Refused once, it is not tried again.
  EXPECT_EQ(DirectReads(*disk.disk), 2);
}

TEST_P(ThreadDiskFaultTest, SaysThatAFileIsCutWhileItIsRead) {
  const Disk disk = MakeDisk([](const DiskRead& read) {
    constexpr uint64_t kCutBytes = 50'000;
    return Answer{.bytes_max = static_cast<uint32_t>(kCutBytes - std::min(read.offset, kCutBytes))};
  });
  for (const ReadMode mode : {ReadMode::kDirect, ReadMode::kBuffered}) {
    EXPECT_THAT(
        ReadOne(Request(*disk.file, mode)).status,
        ReasonIs(Reason::kCheckpointChanged, HasSubstr("file ends after 50000 of 100000 bytes")));
  }
}

// It is told once, the queue goes on, and its return is told when it comes.
TEST_P(ThreadDiskFaultTest, TellsOfAReadWithoutAnAnswerAndOfItsReturn) {
  const Disk disk = MakeDisk([](const DiskRead&) { return Answer{.silence_after = true}; });
  ASSERT_OK_AND_ASSIGN(const auto queue,
                       MakeEngine({.depth = 2, .stall_timeout = absl::Milliseconds(50)}));
  // A thread in pread waits as long as the disk does.
  const absl::Cleanup release = [&] { disk.disk->Release(); };
  ASSERT_OK(queue->Submit(BlockRequest(*disk.file, ReadMode::kDirect, 0)));
  absl::Status first = absl::UnknownError("not read");
  ASSERT_OK(queue->Poll(absl::InfiniteDuration(), [&](const ReadDone& r) { first = r.status; }));
  EXPECT_OK(first);
  ASSERT_OK(queue->Submit(BlockRequest(*disk.file, ReadMode::kDirect, 2)));
  std::vector<ReadDone> told;
  const auto take = [&](const ReadDone& done) { told.push_back(done); };
  ASSERT_OK(queue->Poll(absl::InfiniteDuration(), take));
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_TRUE(told[0].stuck);
  EXPECT_THAT(told[0].status, AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                             "read file at 8192: no answer within 50ms"),
                                    ReasonIs(Reason::kVolumeStuck, HasSubstr(""))));
  EXPECT_EQ(queue->in_flight(), 0U);
  EXPECT_EQ(queue->stuck(), 1U);
  ASSERT_OK(queue->Poll(absl::Milliseconds(60), take));
  EXPECT_THAT(told, SizeIs(1));
  disk.disk->Release();
  ASSERT_OK(queue->Poll(absl::InfiniteDuration(), take));
  ASSERT_THAT(told, SizeIs(2));
  EXPECT_TRUE(told[1].returned);
  EXPECT_EQ(told[1].tag, told[0].tag);
  EXPECT_EQ(queue->stuck(), 0U);
}

// A read without an answer does not hold up those before it.
TEST_P(ThreadDiskFaultTest, OthersFinishBesideAReadWithoutAnAnswer) {
  const Disk disk =
      MakeDisk([](const DiskRead& read) { return Answer{.silence_after = read.number == 7}; });
  ASSERT_OK_AND_ASSIGN(const auto queue, MakeEngine({.depth = 8}));
  const absl::Cleanup release = [&] { disk.disk->Release(); };
  size_t done_count = 0;
  const auto take = [&](const ReadDone& done) {
    EXPECT_OK(done.status);
    ++done_count;
  };
  for (uint64_t i = 0; i < 8; ++i) {
    ASSERT_OK(queue->Submit(BlockRequest(*disk.file, ReadMode::kDirect, i)));
  }
  while (done_count < 7) ASSERT_OK(queue->Poll(absl::InfiniteDuration(), take));
  EXPECT_EQ(queue->in_flight(), 1U);
  disk.disk->Release();
  while (queue->in_flight() > 0) ASSERT_OK(queue->Poll(absl::InfiniteDuration(), take));
  EXPECT_TRUE(buffer_.Bytes(0, 8 * kAlignment) == PatternBytes(8 * kAlignment));
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadDiskFaultTest, ::testing::Values(ReadEngine::kPread),
                         EngineTestName);

TEST_P(DiskFaultTest, OutlastsAStormOfEagainAndEintr) {
  constexpr uint32_t kRetriesMax = 3;
  for (const int error : {EAGAIN, EINTR}) {
    for (const uint64_t failures : {1U, kRetriesMax, kRetriesMax + 1}) {
      const Disk disk = MakeDisk([=](const DiskRead& read) {
        return Answer{.error = read.number <= failures ? error : 0};
      });
      ExpectContent(ReadOne(Request(*disk.file, ReadMode::kDirect), kRetriesMax));
      ExpectReads(*disk.disk, failures + 1);
    }
  }
}

TEST_P(DiskFaultTest, GivesUpWhenTheStormDoesNotEnd) {
  for (const int error : {EAGAIN, EINTR}) {
    const Disk disk = MakeDisk([=](const DiskRead&) { return Answer{.error = error}; });
    EXPECT_THAT(ReadOne(Request(*disk.file, ReadMode::kDirect)).status,
                ReasonIs(Reason::kReadFailed, HasSubstr("read file at 0: ")));
    ExpectReads(*disk.disk, 4);  // the first try, two more, and pread's
  }
}

TEST_P(DiskFaultTest, ReadsBufferedOnceWhereDirectIsRefused) {
  const Disk disk =
      MakeDisk([](const DiskRead& read) { return Answer{.error = read.direct ? EINVAL : 0}; });
  const ReadDone done = ReadOne(Request(*disk.file, ReadMode::kDirect));
  ExpectContent(done);
  EXPECT_TRUE(done.buffered_instead);
  EXPECT_EQ(DirectReads(*disk.disk), 1);
}

// Many reads, of which those behind a place of the disk fail.
TEST_P(DiskFaultTest, SaysFileOffsetAndErrorWhenTheDiskFailsInTheMiddle) {
  for (const auto& [error, text] :
       {std::pair(EIO, "Input/output error"), std::pair(ESTALE, "Stale file handle")}) {
    for (const ReadMode mode : {ReadMode::kDirect, ReadMode::kBuffered}) {
      const Disk disk = MakeDisk([error = error](const DiskRead& read) {
        return Answer{.error = read.offset == 3 * kAlignment ? error : 0};
      });
      const auto done = ReadBlocks(*disk.file, mode, 8);
      ASSERT_THAT(done, SizeIs(8));
      for (const auto& [block, read] : done) {
        EXPECT_EQ(read.status.ok(), block != 3) << block;
      }
      EXPECT_THAT(done.at(3).status,
                  AllOf(StatusIs(absl::StatusCode::kDataLoss, HasSubstr("read file at 12288: ")),
                        ReasonIs(Reason::kReadFailed, HasSubstr(text))));
      EXPECT_TRUE(buffer_.Bytes(4 * kAlignment, kAlignment) ==
                  PatternBytes(kAlignment, 4 * kAlignment));
    }
  }
}

TEST_P(DiskFaultTest, SaysThatAFileHasBecomeShorter) {
  const Disk disk = MakeDisk([](const DiskRead& read) {
    return Answer{.bytes_max = read.offset < 2 * kAlignment ? kAlignment : 0};
  });
  for (const ReadMode mode : {ReadMode::kDirect, ReadMode::kBuffered}) {
    const auto done = ReadBlocks(*disk.file, mode, 3);
    ASSERT_THAT(done, SizeIs(3));
    EXPECT_OK(done.at(1).status);
    EXPECT_THAT(done.at(2).status,
                ReasonIs(Reason::kCheckpointChanged,
                         HasSubstr("read file at 8192: file ends after 0 of 4096 bytes")));
  }
}

INSTANTIATE_TEST_SUITE_P(RealEngines, DiskFaultTest, RealEngines(), EngineTestName);

}  // namespace
}  // namespace weightd::testing
