// The doubles themselves: what they add to the contract that they share with the real engines.

#include <atomic>
#include <cerrno>
#include <vector>

#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/storage/faulty_read_queue.h"
#include "tests/support/storage/memory_read_queue.h"
#include "tests/support/storage/memory_volume.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class MemoryStorageTest : public ::testing::Test {
 protected:
  MemoryStorageTest() {
    volume_.AddFile("file", std::string(4096, 'x'));
    file_ = *volume_.Open("file");
  }
  ReadRequest Request(uint64_t tag, ReadMode mode = ReadMode::kDirect) {
    return {.file = file_.get(),
            .length = 1000,
            .buffer = absl::MakeSpan(buffer_),
            .mode = mode,
            .tag = tag};
  }
  static std::vector<ReadDone> Drain(ReadQueue& queue) {
    std::vector<ReadDone> results;
    while (queue.in_flight() > 0) {
      const absl::Status status = queue.Poll(
          absl::InfiniteDuration(), [&](const ReadDone& done) { results.push_back(done); });
      EXPECT_OK(status);
      if (!status.ok()) break;
    }
    return results;
  }
  std::vector<uint64_t> Order(uint64_t seed) {
    const auto queue =
        *MemoryReadQueue::Create({}, {.seed = seed, .latency_steps_max = 8, .faults = {}});
    for (uint64_t i = 0; i < 16; ++i) EXPECT_OK(queue->Submit(Request(i)));
    std::vector<uint64_t> order;
    for (const ReadDone& done : Drain(*queue)) order.push_back(done.tag);
    return order;
  }

  MemoryVolume volume_;
  std::shared_ptr<File> file_;
  alignas(4096) std::array<std::byte, 4096> buffer_ = {};
};

TEST_F(MemoryStorageTest, SeedDecidesTheOrder) {
  EXPECT_EQ(Order(1), Order(1));
  EXPECT_NE(Order(1), Order(2));
}

TEST_F(MemoryStorageTest, FaultsGoThroughTheSameRulesAsInTheKernel) {
  const auto queue =
      *MemoryReadQueue::Create({.retries_max = 2}, {.seed = 1,
                                                    .latency_steps_max = 1,
                                                    .faults = {{1, {.error = EIO}},
                                                               {2, {.error = EAGAIN, .times = 2}},
                                                               {3, {.error = EAGAIN, .times = 100}},
                                                               {4, {.error = EINVAL}},
                                                               {5, {.short_bytes = 3}}}});
  std::vector<ReadDone> results;
  for (uint64_t i = 1; i <= 6; ++i) {
    ASSERT_OK(queue->Submit(Request(i)));
    for (const ReadDone& done : Drain(*queue)) results.push_back(done);
  }
  ASSERT_EQ(results.size(), 6U);
  EXPECT_THAT(results[0].status, ReasonIs(Reason::kReadFailed, HasSubstr("Input/output error")));
  EXPECT_OK(results[1].status);
  EXPECT_THAT(results[2].status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("")));
  EXPECT_OK(results[3].status);
  EXPECT_TRUE(results[3].buffered_instead);
  EXPECT_OK(results[4].status);
  EXPECT_OK(results[5].status);
}

TEST_F(MemoryStorageTest, AStalledReadCostsNoTimeAndMayComeBack) {
  const auto comes_back = std::make_shared<std::atomic<bool>>(false);
  const auto queue = *MemoryReadQueue::Create({}, {.seed = 1,
                                                   .latency_steps_max = 1,
                                                   .faults = {{1, {.stalls = true}}},
                                                   .comes_back = comes_back});
  ASSERT_OK(queue->Submit(Request(1)));
  std::vector<ReadDone> told;
  const auto take = [&](const ReadDone& done) { told.push_back(done); };
  EXPECT_OK(queue->Poll(absl::Seconds(59), take));
  EXPECT_EQ(told.size(), 0U);
  EXPECT_OK(queue->Poll(absl::Seconds(1), take));
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0].stuck);
  EXPECT_THAT(told[0].status,
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("read file at 0")));
  EXPECT_EQ(queue->stuck(), 1U);
  EXPECT_EQ(queue->in_flight(), 0U);
  *comes_back = true;
  EXPECT_OK(queue->Poll(absl::ZeroDuration(), take));
  ASSERT_EQ(told.size(), 2U);
  EXPECT_TRUE(told[1].returned);
  EXPECT_EQ(queue->stuck(), 0U);
}

TEST_F(MemoryStorageTest, VolumeFaults) {
  volume_.FailReads("file", ESTALE);
  const auto queue = *MemoryReadQueue::Create({});
  ASSERT_OK(queue->Submit(Request(1)));
  EXPECT_THAT(Drain(*queue).at(0).status, ReasonIs(Reason::kReadFailed, HasSubstr("Stale")));
  EXPECT_THAT(file_->ReadAt(0, absl::MakeSpan(buffer_)), Not(IsOk()));
  volume_.FailReads("file", 0);
  EXPECT_OK(file_->ReadAt(0, absl::MakeSpan(buffer_)));
  volume_.MakeUnreadable("file");
  EXPECT_THAT(volume_.Open("file"), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("")));
}

TEST_F(MemoryStorageTest, VolumeWithoutDirectReads) {
  MemoryVolume volume(/*direct_alignment=*/0);
  volume.AddFile("file", "bytes");
  EXPECT_EQ((*volume.Open("file"))->direct_alignment(), 0U);
}

TEST_F(MemoryStorageTest, FaultyQueueFailsFlipsRefusesAndBreaks) {
  QueueFaults faults;
  faults.fail[1] = absl::DataLossError("by the test");
  faults.flip[2] = 999;
  faults.refuse[3] = absl::UnavailableError("not now");
  faults.break_after = 2;
  FaultyReadQueue queue(*MemoryReadQueue::Create({}), faults);
  ASSERT_OK(queue.Submit(Request(7)));
  EXPECT_THAT(Drain(queue).at(0).status, StatusIs(absl::StatusCode::kDataLoss, "by the test"));
  ASSERT_OK(queue.Submit(Request(8)));
  const std::vector<ReadDone> flipped = Drain(queue);
  EXPECT_EQ(flipped.at(0).tag, 8U);
  EXPECT_OK(flipped.at(0).status);
  EXPECT_EQ(buffer_[998], std::byte{'x'});
  EXPECT_NE(buffer_[999], std::byte{'x'});
  EXPECT_THAT(queue.Submit(Request(9)), StatusIs(absl::StatusCode::kUnavailable, "not now"));
  ASSERT_OK(queue.Submit(Request(10)));
  EXPECT_THAT(queue.Poll(absl::ZeroDuration(), [](const ReadDone&) { FAIL(); }),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("broken")));
}

}  // namespace
}  // namespace weightd::testing
