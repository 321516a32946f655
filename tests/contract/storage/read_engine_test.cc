// What CreateReadQueue and the probe choose, and what a volume does without a system call that it
// needs.

#include <sys/syscall.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "daemon/storage/read_queue.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/contract/storage/storage_world.h"
#include "tests/contract/storage/without_system_call.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ReadEngineTest, FallsBackToPreadWhenSeccompForbidsTheRingAndSaysSo) {
  WithoutSystemCall(SYS_io_uring_setup, EPERM, [] {
    const EngineProbe probe = ProbeReadEngine();
    EXPECT_EQ(probe.engine, ReadEngine::kPread);
    EXPECT_THAT(probe.reason, AllOf(HasSubstr("io_uring setup: operation not permitted; "),
                                    HasSubstr("(or set storage.engine = PREAD)")));
    const auto queue = CreateReadQueue({});
    ASSERT_OK(queue);
    EXPECT_EQ((*queue)->engine(), ReadEngine::kPread);
    EXPECT_THAT((*queue)->fallbacks(),
                Contains(Warning{.reason = WarningReason::kNoIoUring,
                                 .text = "pread instead of io_uring: " + probe.reason}));
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

// Direct and buffered reads in flight side by side come back through one Poll.
TEST(ReadEngineTest, DirectAndBufferedReadsGoSideBySide) {
  if (const std::string reason = ProbeReadEngine().reason; !reason.empty()) GTEST_SKIP() << reason;
  const auto world = MakePosixWorld();
  const std::string content = PatternBytes(1'000'000);
  world->AddFile("file", content);
  ASSERT_OK_AND_ASSIGN(const auto file, world->volume().Open("file"));
  if (file->direct_alignment() == 0) GTEST_SKIP() << "no direct reads in the temporary directory";
  ASSERT_OK_AND_ASSIGN(const auto queue, CreateReadQueue({.depth = 16}));
  std::vector<std::unique_ptr<AlignedBuffer>> buffers;
  for (uint64_t tag = 0; tag < 16; ++tag) {
    buffers.push_back(std::make_unique<AlignedBuffer>(content.size() + 4096));
    ASSERT_OK(queue->Submit({.file = file.get(),
                             .length = content.size(),
                             .buffer = buffers.back()->span(),
                             .mode = tag % 2 == 0 ? ReadMode::kDirect : ReadMode::kBuffered,
                             .tag = tag}));
  }
  EXPECT_EQ(queue->in_flight(), 16U);
  std::set<uint64_t> tags;
  while (queue->in_flight() > 0) {
    ASSERT_OK(queue->Poll(absl::InfiniteDuration(), [&](const ReadDone& done) {
      EXPECT_OK(done.status);
      tags.insert(done.tag);
    }));
  }
  EXPECT_EQ(tags.size(), 16U);
  for (const auto& buffer : buffers) EXPECT_TRUE(buffer->Bytes(0, content.size()) == content);
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
