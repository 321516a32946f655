// What both real engines make of errors that the kernel itself gives, and what is io_uring's alone:
// the thread that owns the ring, what cannot be registered, a ring that is forbidden.

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "common/errors.h"
#include "daemon/storage/uring_read_queue.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/contract/storage/storage_world.h"
#include "tests/contract/storage/uring_results.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/storage/descriptor_file.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kEndless = uint64_t{1} << 40;

UniqueFd MemoryFd(const std::string& bytes) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return fd;
}

// A pipe as a file of endless size: `write_end` decides what a read of it gives.
struct PipeFile {
  PipeFile()
      : file([&] {
          std::array<int, 2> ends{};
          EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
          write_end.reset(ends[1]);
          return DescriptorFile(UniqueFd(), UniqueFd(ends[0]), kEndless);
        }()) {}
  void Write(const std::string& bytes) const {
    EXPECT_EQ(write(write_end.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }
  UniqueFd write_end;
  DescriptorFile file;
};

absl::Status PollOne(ReadQueue& queue, ReadDone* result) {
  return queue.Poll(absl::InfiniteDuration(), [&](const ReadDone& done) { *result = done; });
}

class EngineFaultTest : public ::testing::TestWithParam<ReadEngine> {
 protected:
  void SetUp() override {
    if (GetParam() != ReadEngine::kUring) return;
    if (const std::string reason = ProbeReadEngine().reason; !reason.empty()) {
      GTEST_SKIP() << reason;
    }
  }
  ReadDone ReadOne(const ReadRequest& request) {
    ReadDone result;
    auto queue = CreateReadQueue(
        {.engine = GetParam(), .depth = 2, .stall_timeout = absl::Seconds(20), .retries_max = 2});
    EXPECT_OK(queue);
    if (!queue.ok()) return result;
    EXPECT_EQ((*queue)->engine(), GetParam());
    EXPECT_OK((*queue)->Submit(request));
    EXPECT_OK(PollOne(**queue, &result));
    return result;
  }
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
  ASSERT_OK_AND_ASSIGN(const auto queue, CreateReadQueue({.engine = GetParam()}));
  EXPECT_THAT(
      queue->Submit(
          {.file = &file, .length = 1, .buffer = buffer_.span(), .mode = ReadMode::kBuffered}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("descriptor")));
}

INSTANTIATE_TEST_SUITE_P(RealEngines, EngineFaultTest,
                         ::testing::Values(ReadEngine::kUring, ReadEngine::kPread),
                         [](const auto& param_info) {
                           return param_info.param == ReadEngine::kUring ? "IoUring" : "Pread";
                         });

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
  ASSERT_OK_AND_ASSIGN(const auto queue, CreateReadQueue({.engine = ReadEngine::kUring}));
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
      ASSERT_OK_AND_ASSIGN(const auto queue,
                           CreateReadQueue({.engine = ReadEngine::kUring, .retries_max = 3}));
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
  ASSERT_OK_AND_ASSIGN(const auto queue, CreateReadQueue({.engine = ReadEngine::kUring}));
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
  ASSERT_OK_AND_ASSIGN(const auto queue, CreateReadQueue({.engine = ReadEngine::kUring}));
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
  ASSERT_OK_AND_ASSIGN(const auto queue, CreateReadQueue({.engine = ReadEngine::kUring}));
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

TEST_F(UringFaultTest, AReadThatDoesNotComeBackBreaksTheQueueButNotItsEnd) {
  const PipeFile pipe;
  ASSERT_OK_AND_ASSIGN(auto queue, CreateReadQueue({.engine = ReadEngine::kUring,
                                                    .stall_timeout = absl::Milliseconds(20)}));
  ASSERT_OK(queue->Submit(Request(pipe.file, 3000)));
  const auto no_read = [](const ReadDone&) { FAIL(); };
  const auto stalled =
      AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded, "read file at 0: no answer within 20ms"),
            ReasonIs(Reason::kReadFailed, HasSubstr("")));
  EXPECT_THAT(queue->Poll(absl::InfiniteDuration(), no_read), stalled);
  EXPECT_THAT(queue->Poll(absl::InfiniteDuration(), no_read), stalled);
  EXPECT_THAT(queue->Submit(Request(pipe.file, 1)), stalled);
  queue.reset();
  pipe.Write("late");
  EXPECT_EQ(buffer_.Bytes(0, 4), "\xEE\xEE\xEE\xEE");
}

TEST_F(UringFaultTest, OwnerIsTheThreadThatUsesItFirst) {
  const PipeFile pipe;
  ASSERT_OK_AND_ASSIGN(auto queue, CreateReadQueue({.engine = ReadEngine::kUring}));
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
                       CreateReadQueue({.engine = ReadEngine::kUring, .slots = {slot}}));
  EXPECT_THAT(queue->fallbacks(), Contains(HasSubstr("io_uring without registered buffers")));
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

// Runs `test` on a thread for which the kernel answers `system_call` with `error`, as a container's
// seccomp profile does; with `operation`, only where that is the call's second argument.
template <typename Test>
void WithoutSystemCall(uint32_t system_call, uint32_t error, Test test,
                       std::optional<uint32_t> operation = std::nullopt) {
  std::thread([&] {
    const uint16_t compare = operation.has_value() ? BPF_JEQ : BPF_JGE;  // all are at least 0
    std::array<sock_filter, 6> code = {{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, system_call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + sizeof(uint64_t)),
        BPF_JUMP(BPF_JMP | compare | BPF_K, operation.value_or(0), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog program{.len = code.size(), .filter = code.data()};
    ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
    test();
  }).join();
}

TEST_F(UringFaultTest, SaysWhenFilesCannotBeRegisteredAndReadsAnyway) {
  WithoutSystemCall(
      SYS_io_uring_register, EMFILE,
      [&] {
        ASSERT_OK_AND_ASSIGN(const auto queue, CreateReadQueue({.engine = ReadEngine::kUring}));
        EXPECT_THAT(queue->fallbacks(),
                    Contains(AllOf(HasSubstr("without registered files: too many open files"),
                                   HasSubstr("RLIMIT_NOFILE"))));
        const DescriptorFile file(UniqueFd(), MemoryFd("bytes"), 5);
        ASSERT_OK(queue->Submit(Request(file, 5)));
        ReadDone done;
        ASSERT_OK(PollOne(*queue, &done));
        EXPECT_OK(done.status);
        EXPECT_EQ(buffer_.Bytes(0, 5), "bytes");
      },
      IORING_REGISTER_FILES);
}

TEST(ReadEngineTest, FallsBackToPreadWhenSeccompForbidsTheRingAndSaysSo) {
  WithoutSystemCall(SYS_io_uring_setup, EPERM, [] {
    const EngineProbe probe = ProbeReadEngine();
    EXPECT_EQ(probe.engine, ReadEngine::kPread);
    EXPECT_THAT(probe.reason, AllOf(HasSubstr("io_uring setup: operation not permitted; "),
                                    HasSubstr("(or set storage.engine = PREAD)")));
    const auto queue = CreateReadQueue({});
    ASSERT_OK(queue);
    EXPECT_EQ((*queue)->engine(), ReadEngine::kPread);
    EXPECT_THAT((*queue)->fallbacks(), Contains("pread instead of io_uring: " + probe.reason));
    EXPECT_THAT(CreateReadQueue({.engine = ReadEngine::kUring}),
                StatusIs(absl::StatusCode::kPermissionDenied, probe.reason));
  });
}

TEST(ReadEngineTest, FallsBackToPreadWhenTheRingCannotBeEntered) {
  WithoutSystemCall(SYS_io_uring_enter, EPERM, [] {
    EXPECT_EQ(ProbeReadEngine().engine, ReadEngine::kPread);
    EXPECT_THAT(ProbeReadEngine().reason, HasSubstr("io_uring"));
  });
}

TEST(ReadEngineTest, AutoIsWhatTheProbeFound) {
  const EngineProbe probe = ProbeReadEngine();
  ASSERT_OK_AND_ASSIGN(const auto queue, CreateReadQueue({}));
  EXPECT_EQ(queue->engine(), probe.engine);
  EXPECT_EQ(probe.reason.empty(), probe.engine == ReadEngine::kUring);
  ASSERT_OK_AND_ASSIGN(const auto pread, CreateReadQueue({.engine = ReadEngine::kPread}));
  EXPECT_EQ(pread->engine(), ReadEngine::kPread);
  EXPECT_THAT(pread->fallbacks(), IsEmpty());
}

TEST(PosixVolumeTest, SaysWhatIsMissingWithoutOpenat2) {
  const auto world = MakePosixWorld();
  world->AddFile("file", "bytes");
  WithoutSystemCall(SYS_openat2, ENOSYS, [&] {
    EXPECT_THAT(world->volume().Open("file"),
                StatusIs(absl::StatusCode::kUnimplemented,
                         AllOf(HasSubstr("openat2"), HasSubstr("seccomp"))));
  });
}

TEST(PosixVolumeTest, RefusesARootThatIsNoDirectory) {
  EXPECT_THAT(OpenVolume("/nonexistent"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("open volume /nonexistent")));
  EXPECT_THAT(OpenVolume("/proc/self/status"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("")));
}

TEST(PosixVolumeTest, RefusesMagicLinksOfProc) {
  ASSERT_OK_AND_ASSIGN(const auto volume, OpenVolume("/proc/self"));
  EXPECT_FALSE(volume->Open("root/etc/passwd").ok());
  EXPECT_FALSE(volume->Open("cwd/file").ok());
}

}  // namespace
}  // namespace weightd::testing
