// What both real engines make of errors that the kernel itself gives, and what is io_uring's alone:
// the thread that owns the ring, what cannot be registered.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "common/errors.h"
#include "daemon/storage/uring_read_queue.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/contract/storage/one_engine.h"
#include "tests/contract/storage/pipe_file.h"
#include "tests/contract/storage/storage_world.h"
#include "tests/contract/storage/uring_results.h"
#include "tests/contract/storage/without_system_call.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/storage/descriptor_file.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

UniqueFd MemoryFd(const std::string& bytes) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return fd;
}

absl::Status PollOne(ReadQueue& queue, ReadDone* result) {
  return queue.Poll(absl::InfiniteDuration(), [&](const ReadDone& done) { *result = done; });
}

class EngineFaultTest : public OneEngineTest {
 protected:
  AlignedBuffer buffer_{1 << 20};
};

TEST_P(EngineFaultTest, SaysFileOffsetAndErrorWhenTheDiskFails) {
  // Address 8192 is never mapped, so the kernel answers EIO.
  const DescriptorFile file(UniqueFd(), UniqueFd(open("/proc/self/mem", O_RDONLY | O_CLOEXEC)),
                            kEndless);
  EXPECT_THAT(ReadOne({.file = &file,
                       .offset = 8192,
                       .length = 4096,
                       .buffer = buffer_.span(),
                       .mode = ReadMode::kBuffered})
                  .status,
              AllOf(StatusIs(absl::StatusCode::kDataLoss, "read file at 8192: Input/output error"),
                    ReasonIs(Reason::kReadFailed, HasSubstr(""))));
}

// A read of a page map must be of multiples of 8 bytes, else the kernel answers EINVAL, as does a
// file system that takes O_DIRECT in open() only.
UniqueFd PageMap() { return UniqueFd(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)); }

TEST_P(EngineFaultTest, ReadsBufferedOnceWhenDirectIsRefused) {
  const DescriptorFile file(PageMap(), MemoryFd(PatternBytes(10'000)), 10'000, 1);
  const ReadDone done =
      ReadOne({.file = &file, .offset = 4096, .length = 5001, .buffer = buffer_.span(), .tag = 5});
  EXPECT_OK(done.status);
  EXPECT_TRUE(done.buffered_instead);
  EXPECT_EQ(done.tag, 5U);
  EXPECT_TRUE(buffer_.Bytes(0, 5001) == PatternBytes(5001, 4096));
}

TEST_P(EngineFaultTest, FailsWhenBufferedIsRefusedToo) {
  const DescriptorFile file(PageMap(), PageMap(), 10'000, 1);
  const ReadDone done = ReadOne({.file = &file, .length = 1001, .buffer = buffer_.span()});
  EXPECT_THAT(done.status, ReasonIs(Reason::kReadFailed, "read file at 0: Invalid argument"));
  EXPECT_TRUE(done.buffered_instead);
}

TEST_P(EngineFaultTest, RefusesAFileWithoutDescriptor) {
  const DescriptorFile file(UniqueFd(), UniqueFd(), 10'000);
  ASSERT_OK_AND_ASSIGN(const auto queue, MakeEngine({}));
  EXPECT_THAT(
      queue->Submit(
          {.file = &file, .length = 1, .buffer = buffer_.span(), .mode = ReadMode::kBuffered}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("descriptor")));
}

INSTANTIATE_TEST_SUITE_P(RealEngines, EngineFaultTest, RealEngines(), EngineTestName);

class UringFaultTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = ProbeReadEngine().reason; !reason.empty()) {
      GTEST_SKIP() << reason;
    }
  }
  ReadRequest Request(const File& file, uint64_t length) {
    return {.file = &file, .length = length, .buffer = buffer_.span(), .mode = ReadMode::kBuffered};
  }
  AlignedBuffer buffer_{1 << 20};
};

TEST_F(UringFaultTest, ContinuesShortReads) {
  const PipeFile pipe;
  ASSERT_OK_AND_ASSIGN(const auto queue, UringReadQueue::Create({.engine = ReadEngine::kUring}));
  ASSERT_OK(queue->Submit(Request(pipe.file, 3000)));
  for (const uint64_t part : {0, 1000, 2000}) {
    EXPECT_EQ(queue->in_flight(), 1U);
    pipe.Write(PatternBytes(1000, part));
    ReadDone done{.tag = 1, .status = absl::UnknownError("not done"), .buffered_instead = false};
    ASSERT_OK(queue->Poll(part == 2000 ? absl::InfiniteDuration() : absl::ZeroDuration(),
                          [&](const ReadDone& read) { done = read; }));
    EXPECT_EQ(done.status.ok(), part == 2000) << done.status;
  }
  EXPECT_TRUE(buffer_.Bytes(0, 3000) == PatternBytes(3000));
}

TEST_F(UringFaultTest, RetriesEagainAndEintrAndThenReadsWithPread) {
  const std::string content = PatternBytes(10'000);
  const DescriptorFile file(UniqueFd(), MemoryFd(content), content.size());
  for (const int error : {EAGAIN, EINTR}) {
    for (const uint64_t failures : {1U, 2U, 3U, 100U}) {
      ASSERT_OK_AND_ASSIGN(const auto queue, UringReadQueue::Create(
                                                 {.engine = ReadEngine::kUring, .retries_max = 3}));
      const ScopedUringResults results(
          [&](uint64_t number, int32_t result) { return number <= failures ? -error : result; });
      ASSERT_OK(queue->Submit(Request(file, 10'000)));
      ReadDone done;
      ASSERT_OK(PollOne(*queue, &done));
      EXPECT_OK(done.status);
      EXPECT_TRUE(buffer_.Bytes(0, 10'000) == content);
      // At most the first try and three more; what follows is pread's.
      EXPECT_EQ(results.results_count(), std::min<uint64_t>(failures + 1, 4));
      std::fill(buffer_.span().begin(), buffer_.span().end(), std::byte{0});
    }
  }
}

// While one read waits for its next try, others finish.
TEST_F(UringFaultTest, ARetryHoldsNothingUp) {
  const DescriptorFile file(UniqueFd(), MemoryFd("bytes"), 5);
  ASSERT_OK_AND_ASSIGN(const auto queue, UringReadQueue::Create({.engine = ReadEngine::kUring}));
  const ScopedUringResults results(
      [&](uint64_t number, int32_t result) { return number == 1 ? -EAGAIN : result; });
  ReadRequest request = Request(file, 5);
  std::vector<uint64_t> order;
  for (request.tag = 1; request.tag <= 3; ++request.tag) ASSERT_OK(queue->Submit(request));
  while (queue->in_flight() > 0) {
    ASSERT_OK(queue->Poll(absl::InfiniteDuration(), [&](const ReadDone& done) {
      EXPECT_OK(done.status);
      order.push_back(done.tag);
    }));
  }
  EXPECT_THAT(order, ElementsAre(2, 3, 1));
}

TEST_F(UringFaultTest, EndsTheReadOnStaleFileHandles) {
  const DescriptorFile file(UniqueFd(), MemoryFd("bytes"), 5);
  ASSERT_OK_AND_ASSIGN(const auto queue, UringReadQueue::Create({.engine = ReadEngine::kUring}));
  const ScopedUringResults results([](uint64_t, int32_t) { return -ESTALE; });
  ASSERT_OK(queue->Submit(Request(file, 5)));
  ReadDone done;
  ASSERT_OK(PollOne(*queue, &done));
  EXPECT_THAT(done.status, AllOf(StatusIs(absl::StatusCode::kDataLoss, HasSubstr("at 0")),
                                 ReasonIs(Reason::kReadFailed, HasSubstr("Stale file handle"))));
}

// The direct read of a disk file comes back short in odd places and goes on from the aligned floor.
TEST_F(UringFaultTest, ContinuesShortDirectReadsOfADiskFile) {
  const auto world = MakePosixWorld();
  const std::string content = PatternBytes(300'000);
  world->AddFile("file", content);
  ASSERT_OK_AND_ASSIGN(const auto file, world->volume().Open("file"));
  if (file->direct_alignment() == 0) GTEST_SKIP() << "no direct reads in the temporary directory";
  ASSERT_OK_AND_ASSIGN(const auto queue, UringReadQueue::Create({.engine = ReadEngine::kUring}));
  const ScopedUringResults results([](uint64_t number, int32_t result) {
    return std::min(result, number % 4 == 3 ? 1577 : 60'000 + static_cast<int32_t>(number));
  });
  ReadRequest request = Request(*file, content.size());
  request.mode = ReadMode::kDirect;
  ASSERT_OK(queue->Submit(request));
  ReadDone done;
  ASSERT_OK(PollOne(*queue, &done));
  EXPECT_OK(done.status);
  EXPECT_FALSE(done.buffered_instead);
  EXPECT_GT(results.results_count(), 5U);
  EXPECT_TRUE(buffer_.Bytes(0, content.size()) == content);
}

// A ring can cancel the read of a pipe, which then returns.
TEST_F(UringFaultTest, AReadThatDoesNotComeBackIsToldAndCancelled) {
  const PipeFile pipe;
  ASSERT_OK_AND_ASSIGN(
      auto queue, UringReadQueue::Create(
                      {.engine = ReadEngine::kUring, .stall_timeout = absl::Milliseconds(20)}));
  ReadRequest request = Request(pipe.file, 3000);
  request.tag = 7;
  ASSERT_OK(queue->Submit(request));
  std::vector<ReadDone> told;
  const auto take = [&](const ReadDone& done) { told.push_back(done); };
  ASSERT_OK(queue->Poll(absl::InfiniteDuration(), take));
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0].stuck);
  EXPECT_EQ(told[0].tag, 7U);
  EXPECT_THAT(told[0].status, AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                             "read file at 0: no answer within 20ms"),
                                    ReasonIs(Reason::kVolumeStuck, HasSubstr(""))));
  EXPECT_EQ(queue->in_flight(), 0U);
  EXPECT_EQ(queue->stuck(), 1U);
  ASSERT_OK(queue->Poll(absl::InfiniteDuration(), take));
  ASSERT_EQ(told.size(), 2U);
  EXPECT_TRUE(told[1].returned);
  EXPECT_EQ(told[1].tag, 7U);
  EXPECT_EQ(queue->stuck(), 0U);
  // The queue serves on.
  const DescriptorFile file(UniqueFd(), MemoryFd("bytes"), 5);
  ASSERT_OK(queue->Submit(Request(file, 5)));
  ReadDone done;
  ASSERT_OK(PollOne(*queue, &done));
  EXPECT_OK(done.status);
  EXPECT_EQ(buffer_.Bytes(0, 5), "bytes");
  queue.reset();
  pipe.Write("late");
  EXPECT_EQ(buffer_.Bytes(0, 5), "bytes");
}

// Not even by mistake: the kernel would put bytes of another place there (file_system.h).
TEST_F(UringFaultTest, FilesOfFuseAndOfNobodyKnowsWhatAreRefused) {
  ASSERT_OK_AND_ASSIGN(auto queue, UringReadQueue::Create({.engine = ReadEngine::kUring}));
  const DescriptorFile fuse(UniqueFd(), MemoryFd("bytes"), 5, 0, FileSystemKind::kFuse);
  EXPECT_THAT(queue->Submit(Request(fuse, 5)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("FUSE")));
  EXPECT_EQ(queue->in_flight(), 0U);
  EXPECT_EQ(KindOfFileSystem(0), FileSystemKind::kFuse);
}

TEST_F(UringFaultTest, OwnerIsTheThreadThatUsesItFirst) {
  const PipeFile pipe;
  ASSERT_OK_AND_ASSIGN(auto queue, UringReadQueue::Create({.engine = ReadEngine::kUring}));
  std::thread([&] {
    EXPECT_OK(queue->Submit(Request(pipe.file, 4)));
    pipe.Write("read");
    ReadDone done;
    EXPECT_OK(PollOne(*queue, &done));
    EXPECT_OK(done.status);
    EXPECT_OK(queue->Submit(Request(pipe.file, 4)));
  }).join();
  EXPECT_EQ(buffer_.Bytes(0, 4), "read");
  // The owner ended with a read in flight: the kernel has cancelled it.
  queue.reset();
  pipe.Write("late");
  EXPECT_EQ(buffer_.Bytes(0, 4), "read");
}

TEST_F(UringFaultTest, SaysWhenBuffersCannotBeRegisteredAndReadsAnyway) {
  constexpr size_t kBytes = 4096;
  void* const memory = mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const absl::Cleanup unmap = [&] { munmap(memory, kBytes); };
  const auto slot = absl::MakeSpan(static_cast<std::byte*>(memory), kBytes);
  ASSERT_OK_AND_ASSIGN(const auto queue,
                       UringReadQueue::Create({.engine = ReadEngine::kUring, .slots = {slot}}));
  EXPECT_THAT(
      queue->fallbacks(),
      Contains(::testing::Field(&Warning::text, HasSubstr("io_uring without registered buffers"))));
  ASSERT_EQ(mprotect(memory, kBytes, PROT_READ | PROT_WRITE), 0);
  const DescriptorFile file(UniqueFd(), MemoryFd("bytes"), 5);
  ReadRequest request = Request(file, 5);
  request.buffer = slot;
  request.slot = 0;
  ASSERT_OK(queue->Submit(request));
  ReadDone done;
  ASSERT_OK(PollOne(*queue, &done));
  EXPECT_OK(done.status);
  EXPECT_EQ(slot[0], std::byte{'b'});
}

TEST_F(UringFaultTest, SaysWhenFilesCannotBeRegisteredAndReadsAnyway) {
  WithoutSystemCall(
      SYS_io_uring_register, EMFILE,
      [&] {
        ASSERT_OK_AND_ASSIGN(const auto queue,
                             UringReadQueue::Create({.engine = ReadEngine::kUring}));
        EXPECT_THAT(
            queue->fallbacks(),
            Contains(::testing::Field(
                &Warning::text, AllOf(HasSubstr("without registered files: too many open files"),
                                      HasSubstr("RLIMIT_NOFILE")))));
        const DescriptorFile file(UniqueFd(), MemoryFd("bytes"), 5);
        ASSERT_OK(queue->Submit(Request(file, 5)));
        ReadDone done;
        ASSERT_OK(PollOne(*queue, &done));
        EXPECT_OK(done.status);
        EXPECT_EQ(buffer_.Bytes(0, 5), "bytes");
      },
      IORING_REGISTER_FILES);
}

}  // namespace
}  // namespace weightd::testing
