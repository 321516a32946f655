// The pread engine with another pread(2): faults that the kernel gives no test on demand.

#include "daemon/storage/pread_read_queue.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <set>

#include "absl/synchronization/notification.h"
#include "common/align.h"
#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/storage/descriptor_file.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Any descriptor: the reads do not reach the kernel.
constexpr int kDescriptor = 1 << 20;

class PreadReadQueueTest : public ::testing::Test {
 protected:
  ReadRequest Request(uint64_t length) {
    return {.file = &file_,
            .length = length,
            .buffer = absl::MakeSpan(buffer_).first(length),
            .mode = ReadMode::kBuffered};
  }
  static absl::Status ReadOne(ReadQueue& queue, const ReadRequest& request) {
    EXPECT_OK(queue.Submit(request));
    absl::Status result = absl::UnknownError("not done");
    EXPECT_OK(
        queue.Poll(absl::InfiniteDuration(), [&](const ReadDone& done) { result = done.status; }));
    return result;
  }
  static ssize_t Fail(int error) {
    errno = error;
    return -1;
  }

  const DescriptorFile file_{UniqueFd(), UniqueFd(kDescriptor), uint64_t{1} << 40};
  std::vector<std::byte> buffer_ = std::vector<std::byte>(1 << 16);
};

TEST_F(PreadReadQueueTest, ContinuesShortReads) {
  ASSERT_OK_AND_ASSIGN(const auto queue,
                       PreadReadQueue::Create({}, [](int fd, void* to, size_t length, off_t at) {
                         EXPECT_EQ(fd, kDescriptor);
                         const size_t part = std::min<size_t>(length, 1 + at % 7);
                         for (size_t i = 0; i < part; ++i) {
                           static_cast<uint8_t*>(to)[i] = static_cast<uint8_t>(at + i);
                         }
                         return static_cast<ssize_t>(part);
                       }));
  EXPECT_OK(ReadOne(*queue, Request(1000)));
  for (size_t i = 0; i < 1000; ++i) ASSERT_EQ(buffer_[i], static_cast<std::byte>(i)) << i;
}

TEST_F(PreadReadQueueTest, GivesUpAfterRetries) {
  std::atomic<int> calls_count = 0;
  ASSERT_OK_AND_ASSIGN(const auto queue, PreadReadQueue::Create({.retries_max = 2}, [&](auto...) {
                         ++calls_count;
                         return Fail(EAGAIN);
                       }));
  EXPECT_THAT(ReadOne(*queue, Request(1)), ReasonIs(Reason::kReadFailed, HasSubstr("at 0")));
  EXPECT_EQ(calls_count, 4);  // the first, two retries, the plain pread
}

TEST_F(PreadReadQueueTest, SurvivesErrorsThatPass) {
  std::atomic<int> calls_count = 0;
  ASSERT_OK_AND_ASSIGN(const auto queue,
                       PreadReadQueue::Create({}, [&](int, void*, size_t length, off_t) {
                         const int call = ++calls_count;
                         if (call == 1) return Fail(EINTR);
                         if (call == 2) return Fail(EAGAIN);
                         return static_cast<ssize_t>(length);
                       }));
  EXPECT_OK(ReadOne(*queue, Request(100)));
  EXPECT_EQ(calls_count, 3);
}

TEST_F(PreadReadQueueTest, EndsTheReadOnStaleFileHandlesAndGoesOn) {
  std::atomic<bool> stale = true;
  ASSERT_OK_AND_ASSIGN(const auto queue,
                       PreadReadQueue::Create({}, [&](int, void*, size_t length, off_t) {
                         return stale ? Fail(ESTALE) : static_cast<ssize_t>(length);
                       }));
  EXPECT_THAT(ReadOne(*queue, Request(100)),
              StatusIs(absl::StatusCode::kDataLoss, "read file at 0: Stale file handle"));
  stale = false;
  EXPECT_OK(ReadOne(*queue, Request(100)));
}

TEST_F(PreadReadQueueTest, AReadThatDoesNotComeBackBreaksTheQueue) {
  absl::Notification answer;
  ASSERT_OK_AND_ASSIGN(auto queue, PreadReadQueue::Create({.stall_timeout = absl::Milliseconds(20)},
                                                          [&](int, void*, size_t length, off_t) {
                                                            answer.WaitForNotification();
                                                            return static_cast<ssize_t>(length);
                                                          }));
  ASSERT_OK(queue->Submit(Request(100)));
  const auto no_read = [](const ReadDone&) { FAIL(); };
  const auto stalled =
      AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded, "read file at 0: no answer within 20ms"),
            ReasonIs(Reason::kReadFailed, HasSubstr("")));
  EXPECT_THAT(queue->Poll(absl::InfiniteDuration(), no_read), stalled);
  EXPECT_THAT(queue->Submit(Request(100)), stalled);
  EXPECT_EQ(queue->in_flight(), 1U);
  answer.Notify();
  EXPECT_THAT(queue->Poll(absl::InfiniteDuration(), no_read), stalled);
}

TEST_F(PreadReadQueueTest, PollGoesHomeAfterItsTimeoutWhileReadsRun) {
  absl::Notification answer;
  ASSERT_OK_AND_ASSIGN(const auto queue,
                       PreadReadQueue::Create({}, [&](int, void*, size_t length, off_t) {
                         answer.WaitForNotification();
                         return static_cast<ssize_t>(length);
                       }));
  ASSERT_OK(queue->Submit(Request(100)));
  ASSERT_OK(queue->Poll(absl::Milliseconds(1), [](const ReadDone&) { FAIL(); }));
  EXPECT_EQ(queue->in_flight(), 1U);
  answer.Notify();
  uint32_t done_count = 0;
  ASSERT_OK(queue->Poll(absl::InfiniteDuration(), [&](const ReadDone&) { ++done_count; }));
  EXPECT_EQ(done_count, 1U);
}

// The pauses between 64 retries would add up to six seconds.
TEST_F(PreadReadQueueTest, DestroyingItDoesNotWaitForRetries) {
  absl::Notification tried;
  std::atomic<int> calls_count = 0;
  ASSERT_OK_AND_ASSIGN(auto queue, PreadReadQueue::Create({.retries_max = 64}, [&](auto...) {
                         if (++calls_count == 1) tried.Notify();
                         return Fail(EAGAIN);
                       }));
  ASSERT_OK(queue->Submit(Request(1)));
  tried.WaitForNotification();
  queue.reset();
  EXPECT_LT(calls_count, 64);
}

TEST_F(PreadReadQueueTest, ReadsRunBesideEachOther) {
  // Each read waits until all four are running.
  std::atomic<int> running_count = 0;
  absl::Notification all;
  ASSERT_OK_AND_ASSIGN(const auto queue,
                       PreadReadQueue::Create({.depth = 8, .pread_threads = 4},
                                              [&](int, void*, size_t length, off_t) {
                                                if (++running_count == 4) all.Notify();
                                                all.WaitForNotification();
                                                return static_cast<ssize_t>(length);
                                              }));
  std::set<uint64_t> tags;
  ReadRequest request = Request(10);
  for (request.tag = 0; request.tag < 4; ++request.tag) ASSERT_OK(queue->Submit(request));
  while (queue->in_flight() > 0) {
    ASSERT_OK(queue->Poll(absl::InfiniteDuration(),
                          [&](const ReadDone& done) { tags.insert(done.tag); }));
  }
  EXPECT_EQ(tags.size(), 4U);
}

}  // namespace
}  // namespace weightd::testing
