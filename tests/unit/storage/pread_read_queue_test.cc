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

// A thread that is stuck has another one in its place, up to a limit; and goes when it is back.
TEST_F(PreadReadQueueTest, ThreadsThatAreStuckAreReplacedUpToALimit) {
  absl::Notification answer;
  std::atomic<bool> hangs = true;
  ASSERT_OK_AND_ASSIGN(
      auto queue,
      PreadReadQueue::Create(
          {.depth = 4, .pread_threads = 1, .stall_timeout = absl::Milliseconds(20), .stuck_max = 2},
          [&](int, void*, size_t length, off_t) {
            if (hangs) answer.WaitForNotification();
            return static_cast<ssize_t>(length);
          }));
  std::vector<ReadDone> told;
  const auto take = [&](const ReadDone& done) { told.push_back(done); };
  for (uint32_t i = 1; i <= 2; ++i) {
    ASSERT_OK(queue->Submit(Request(100)));
    while (told.size() < i) ASSERT_OK(queue->Poll(absl::InfiniteDuration(), take));
    EXPECT_TRUE(told.back().stuck);
    EXPECT_THAT(told.back().status, AllOf(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                                   "read file at 0: no answer within 20ms"),
                                          ReasonIs(Reason::kVolumeStuck, HasSubstr(""))));
    EXPECT_EQ(queue->in_flight(), 0U);
    EXPECT_EQ(queue->stuck(), i);
  }
  EXPECT_THAT(queue->Submit(Request(100)),
              AllOf(StatusIs(absl::StatusCode::kUnavailable, HasSubstr("2 reads of this volume")),
                    ReasonIs(Reason::kVolumeStuck, HasSubstr(""))));
  hangs = false;
  answer.Notify();
  while (told.size() < 4) ASSERT_OK(queue->Poll(absl::InfiniteDuration(), take));
  EXPECT_TRUE(told[2].returned && told[3].returned);
  EXPECT_EQ(queue->stuck(), 0U);
  EXPECT_OK(ReadOne(*queue, Request(100)));
}

// The reads beside one that hangs are made, and so are those after it.
TEST_F(PreadReadQueueTest, AReadThatHangsHoldsUpNoOther) {
  absl::Notification answer;
  ASSERT_OK_AND_ASSIGN(
      const auto queue,
      PreadReadQueue::Create(
          {.depth = 4, .pread_threads = 1, .stall_timeout = absl::Milliseconds(20)},
          [&](int, void*, size_t length, off_t) {
            if (length == 77) answer.WaitForNotification();
            return static_cast<ssize_t>(length);
          }));
  ASSERT_OK(queue->Submit(Request(77)));
  ASSERT_OK(queue->Submit(Request(100)));
  std::vector<ReadDone> told;
  while (told.size() < 2) {
    ASSERT_OK(
        queue->Poll(absl::InfiniteDuration(), [&](const ReadDone& done) { told.push_back(done); }));
  }
  EXPECT_TRUE(told[0].stuck);
  EXPECT_OK(told[1].status);
  answer.Notify();
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
