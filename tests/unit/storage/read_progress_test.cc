// One test per row of the table in read_progress.h (design, section 6, "errors").

#include "daemon/storage/read_progress.h"

#include <cerrno>

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

constexpr uint64_t kOffset = 4096;

class ReadProgressTest : public ::testing::Test {
 protected:
  // No byte of the buffer is touched here, so it needs no memory.
  ReadProgress Start(uint64_t length, ReadMode mode = ReadMode::kDirect) {
    return ReadProgress({.file = &file_, .offset = kOffset, .length = length, .mode = mode}, 3);
  }
  static void ExpectPart(const ReadProgress& progress, ReadMode mode, uint64_t position,
                         uint64_t length) {
    EXPECT_FALSE(progress.finished()) << progress.status();
    EXPECT_EQ(progress.part().mode, mode);
    EXPECT_EQ(progress.part().position, position);
    EXPECT_EQ(progress.part().offset, kOffset + position);
    EXPECT_EQ(progress.part().length, length);
  }
  const DescriptorFile file_{UniqueFd(), UniqueFd(), uint64_t{1} << 40, 512};
};

TEST_F(ReadProgressTest, StartsWithTheWholeLengthRoundedUpForDirect) {
  ExpectPart(Start(1000), ReadMode::kDirect, 0, 1024);
  ExpectPart(Start(1000, ReadMode::kBuffered), ReadMode::kBuffered, 0, 1000);
}

TEST_F(ReadProgressTest, IsDoneWithAllBytesAlsoWithoutThePadding) {
  for (const int64_t result : {1000, 1024}) {
    ReadProgress progress = Start(1000);
    progress.OnResult(result);
    EXPECT_TRUE(progress.finished());
    EXPECT_OK(progress.status());
    EXPECT_FALSE(progress.buffered_instead());
  }
}

TEST_F(ReadProgressTest, NeverAsksForMoreThanOneGibibyte) {
  for (const ReadMode mode : {ReadMode::kDirect, ReadMode::kBuffered}) {
    ReadProgress progress = Start(5 * kGiB / 2, mode);
    ExpectPart(progress, mode, 0, kGiB);
    progress.OnResult(kGiB);
    ExpectPart(progress, mode, kGiB, kGiB);
    progress.OnResult(kGiB);
    ExpectPart(progress, mode, 2 * kGiB, kGiB / 2);
    progress.OnResult(kGiB / 2);
    EXPECT_TRUE(progress.finished());
    EXPECT_OK(progress.status());
  }
}

TEST_F(ReadProgressTest, ShortBufferedReadGoesOnAtTheNextByte) {
  ReadProgress progress = Start(1000, ReadMode::kBuffered);
  progress.OnResult(1);
  ExpectPart(progress, ReadMode::kBuffered, 1, 999);
  progress.OnResult(999);
  EXPECT_TRUE(progress.finished());
}

TEST_F(ReadProgressTest, ShortDirectReadGoesOnAtTheAlignedFloor) {
  ReadProgress progress = Start(8192);
  progress.OnResult(1577);
  ExpectPart(progress, ReadMode::kDirect, 1536, 8192 - 1536);
  progress.OnResult(512);
  ExpectPart(progress, ReadMode::kDirect, 2048, 8192 - 2048);
}

// The end of a truncated file: the same 41 bytes for ever, if the floor were read again.
TEST_F(ReadProgressTest, DirectReadWithinOneBlockGoesOnBufferedAndFindsTheEnd) {
  ReadProgress progress = Start(8192);
  progress.OnResult(1577);
  progress.OnResult(41);
  ExpectPart(progress, ReadMode::kBuffered, 1577, 8192 - 1577);
  progress.OnResult(0);
  EXPECT_TRUE(progress.finished());
  EXPECT_FALSE(progress.buffered_instead());
  EXPECT_THAT(progress.status(),
              AllOf(StatusIs(absl::StatusCode::kDataLoss,
                             "read file at 4096: file ends after 1577 of 8192 bytes"),
                    ReasonIs(Reason::kCheckpointChanged, HasSubstr(""))));
}

TEST_F(ReadProgressTest, EndOfFileAtOnceIsAChangedCheckpoint) {
  ReadProgress progress = Start(8192);
  progress.OnResult(0);
  EXPECT_THAT(progress.status(),
              ReasonIs(Reason::kCheckpointChanged, HasSubstr("after 0 of 8192")));
}

TEST_F(ReadProgressTest, AnEndAfterManyPartsCountsAllOfThem) {
  ReadProgress progress = Start(8192);
  for (int i = 0; i < 8; ++i) progress.OnResult(512);
  progress.OnResult(0);
  EXPECT_THAT(progress.status(),
              ReasonIs(Reason::kCheckpointChanged, HasSubstr("after 4096 of 8192")));
}

TEST_F(ReadProgressTest, EagainAndEintrAreTriedAgainThenGoToPread) {
  ReadProgress progress = Start(8192);
  for (const int error : {EAGAIN, EINTR, EAGAIN}) {
    progress.OnResult(-error);
    ExpectPart(progress, ReadMode::kDirect, 0, 8192);
    EXPECT_EQ(progress.part().kind, ReadPart::Kind::kRead);
    EXPECT_GT(progress.part().pause, absl::ZeroDuration());
  }
  progress.OnResult(-EAGAIN);
  ExpectPart(progress, ReadMode::kDirect, 0, 8192);
  EXPECT_EQ(progress.part().kind, ReadPart::Kind::kPread);
  progress.OnResult(-EAGAIN);
  EXPECT_THAT(progress.status(), AllOf(StatusIs(absl::StatusCode::kUnavailable, HasSubstr("4096")),
                                       ReasonIs(Reason::kReadFailed, HasSubstr(""))));
}

TEST_F(ReadProgressTest, RetriesAreCountedPerReadNotPerPart) {
  ReadProgress progress = Start(8192);
  progress.OnResult(-EAGAIN);
  progress.OnResult(512);
  EXPECT_EQ(progress.part().pause, absl::ZeroDuration());
  for (int i = 0; i < 3; ++i) progress.OnResult(-EAGAIN);
  EXPECT_EQ(progress.part().kind, ReadPart::Kind::kPread);
  ExpectPart(progress, ReadMode::kDirect, 512, 8192 - 512);
  progress.OnResult(8192 - 512);
  EXPECT_TRUE(progress.finished());
  EXPECT_OK(progress.status());
}

TEST_F(ReadProgressTest, EinvalOnDirectGoesOnBufferedOnce) {
  for (const int error : {EINVAL, EOPNOTSUPP}) {
    ReadProgress progress = Start(8000);
    progress.OnResult(512);
    progress.OnResult(-error);
    ExpectPart(progress, ReadMode::kBuffered, 512, 8000 - 512);
    EXPECT_TRUE(progress.buffered_instead());
    progress.OnResult(-error);
    EXPECT_TRUE(progress.finished());
    EXPECT_THAT(progress.status(), ReasonIs(Reason::kReadFailed, HasSubstr("read file at 4608: ")));
    EXPECT_TRUE(progress.TakeDone().buffered_instead);
  }
}

TEST_F(ReadProgressTest, EinvalOnBufferedFails) {
  ReadProgress progress = Start(8192, ReadMode::kBuffered);
  progress.OnResult(-EINVAL);
  EXPECT_THAT(progress.status(), ReasonIs(Reason::kReadFailed, HasSubstr("Invalid argument")));
  EXPECT_FALSE(progress.buffered_instead());
}

TEST_F(ReadProgressTest, OtherErrorsFailWithFileOffsetAndText) {
  const std::vector<std::pair<int, std::string>> errors = {
      {EIO, "read file at 4608: Input/output error"},
      {ESTALE, "read file at 4608: Stale file handle"}};
  for (const auto& [error, text] : errors) {
    ReadProgress progress = Start(8192);
    progress.OnResult(512);
    progress.OnResult(-error);
    EXPECT_TRUE(progress.finished());
    EXPECT_THAT(progress.status(), AllOf(StatusIs(absl::StatusCode::kDataLoss, text),
                                         ReasonIs(Reason::kReadFailed, text)));
  }
  ReadProgress progress = Start(8192);
  progress.OnResult(-ECANCELED);
  EXPECT_THAT(progress.status(), ReasonIs(Reason::kReadFailed, HasSubstr("canceled")));
}

TEST_F(ReadProgressTest, MoreBytesThanAskedForIsNoSuccess) {
  ReadProgress progress = Start(1000);
  progress.OnResult(1025);
  EXPECT_THAT(progress.status(), StatusIs(absl::StatusCode::kInternal, HasSubstr("1025 of 1024")));
}

TEST(RetryPauseTest, DoublesUpToItsLimit) {
  EXPECT_EQ(RetryPause(1), absl::Milliseconds(1));
  EXPECT_EQ(RetryPause(2), absl::Milliseconds(2));
  EXPECT_EQ(RetryPause(7), absl::Milliseconds(64));
  EXPECT_EQ(RetryPause(8), absl::Milliseconds(100));
  EXPECT_EQ(RetryPause(UINT32_MAX), absl::Milliseconds(100));
}

}  // namespace
}  // namespace weightd::testing
