#include "daemon/service/request_frames.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

constexpr const char* kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr char kData = 0;
constexpr char kHeaders = 1;
constexpr char kReset = 3;
constexpr char kSettings = 4;
constexpr char kContinuation = 9;
constexpr char kEnd = 1;
constexpr char kHeadersEnd = 4;

// A frame that says it has `bytes`.
std::string Head(char type, char flags, uint32_t stream, size_t bytes) {
  std::string head;
  for (const int shift : {16, 8, 0}) head.push_back(static_cast<char>(bytes >> shift));
  head.push_back(type);
  head.push_back(flags);
  for (const int shift : {24, 16, 8, 0}) head.push_back(static_cast<char>(stream >> shift));
  return head;
}
std::string Frame(char type, char flags, uint32_t stream, size_t bytes) {
  return Head(type, flags, stream, bytes) + std::string(bytes, 'x');
}

class RequestFramesTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(frames_.Read(kPreface)); }
  RequestFrames frames_;
};

TEST_F(RequestFramesTest, ARequestIsWholeWithItsLastByte) {
  EXPECT_OK(frames_.Read(Frame(kSettings, 0, 0, 12)));
  EXPECT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd, 1, 100)));
  EXPECT_EQ(frames_.unfinished(), 1);
  EXPECT_OK(frames_.Read(Head(kData, kEnd, 1, 20) + std::string(19, 'x')));
  EXPECT_EQ(frames_.unfinished(), 1);
  EXPECT_OK(frames_.Read("x"));
  EXPECT_EQ(frames_.unfinished(), 0);
}

TEST_F(RequestFramesTest, EndsInEveryWay) {
  EXPECT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd | kEnd, 1, 100)));  // without a message
  EXPECT_EQ(frames_.unfinished(), 0);
  EXPECT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd, 3, 100) + Frame(kData, kEnd, 3, 0)));
  EXPECT_EQ(frames_.unfinished(), 0);
  EXPECT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd, 5, 100) + Frame(kReset, 0, 5, 4)));
  EXPECT_EQ(frames_.unfinished(), 0);
  EXPECT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd, 7, 100) + Frame(kData, 0, 7, 9) +
                         Frame(kHeaders, kHeadersEnd | kEnd, 7, 10)));  // trailers
  EXPECT_EQ(frames_.unfinished(), 0);
}

TEST_F(RequestFramesTest, ACallIsOpenUntilOneSideEndsIt) {
  for (uint32_t stream = 1; stream <= 7; stream += 2) {
    EXPECT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd, stream, 10)));
    EXPECT_OK(frames_.Read(Frame(kData, kEnd, stream, 10)));
  }
  EXPECT_EQ(frames_.open_cost(), 4);
  EXPECT_OK(frames_.Read(Frame(kReset, 0, 1, 4)));
  EXPECT_EQ(frames_.open_cost(), 3);
  std::string answers = Frame(kSettings, kEnd, 0, 0) + Frame(kHeaders, kHeadersEnd, 3, 20) +
                        Frame(kData, 0, 3, 1000) + Frame(kHeaders, kHeadersEnd | kEnd, 3, 20);
  for (const char byte : answers) frames_.ReadAnswers(std::string(1, byte));
  EXPECT_EQ(frames_.open_cost(), 2);
  frames_.ReadAnswers(Frame(kReset, 0, 5, 4) + Frame(kReset, 0, 99, 4));
  EXPECT_EQ(frames_.open_cost(), 1);
}

TEST_F(RequestFramesTest, ACallCostsMoreWithLargeHeaders) {
  EXPECT_OK(frames_.Read(Frame(kHeaders, 0, 1, 2500) + Frame(kContinuation, kHeadersEnd, 1, 1100)));
  EXPECT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd, 3, 100)));
  EXPECT_EQ(frames_.open_cost(), 5);
  frames_.ReadAnswers(Frame(kReset, 0, 1, 4));
  EXPECT_EQ(frames_.open_cost(), 1);
}

TEST_F(RequestFramesTest, BytesMayBeCutAnywhere) {
  RequestFrames frames;
  std::string all = kPreface;
  for (uint32_t stream = 1; stream < 20; stream += 2) {
    all += Frame(kHeaders, 0, stream, 50) + Frame(kContinuation, kHeadersEnd, stream, 50) +
           Frame(kData, kEnd, stream, stream);
  }
  all += Frame(kHeaders, kHeadersEnd, 21, 50);
  for (const char byte : all) ASSERT_OK(frames.Read(std::string(1, byte)));
  EXPECT_EQ(frames.unfinished(), 1);
}

TEST_F(RequestFramesTest, ManyWholeRequestsAreNoneThatIsNot) {
  for (uint32_t stream = 1; stream < 20'000; stream += 2) {
    ASSERT_OK(
        frames_.Read(Frame(kHeaders, kHeadersEnd, stream, 100) + Frame(kData, kEnd, stream, 1000)));
  }
  EXPECT_EQ(frames_.unfinished(), 0);
}

TEST_F(RequestFramesTest, RefusesTooManyThatAreNotWhole) {
  uint32_t stream = 1;
  for (size_t i = 0; i < RequestFrames::kUnfinishedMax; ++i, stream += 2) {
    ASSERT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd, stream, 10)));
  }
  EXPECT_THAT(frames_.Read(Frame(kHeaders, kHeadersEnd, stream, 10)),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("257 requests")));
}

TEST_F(RequestFramesTest, RefusesTooManyBytesOfThem) {
  ASSERT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd, 1, 10) + Frame(kData, 0, 1, 65'541)));
  ASSERT_OK(frames_.Read(Frame(kHeaders, kHeadersEnd, 3, 10) + Frame(kData, 0, 3, 65'000)));
  EXPECT_THAT(
      frames_.Read(Head(kData, 0, 3, 1000)),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("131541 bytes of requests")));
}

TEST_F(RequestFramesTest, RefusesHeadersWithoutEnd) {
  ASSERT_OK(frames_.Read(Frame(kHeaders, 0, 1, 10'000)));
  ASSERT_OK(frames_.Read(Frame(kContinuation, 0, 1, 6'384)));
  EXPECT_THAT(frames_.Read(Head(kContinuation, 0, 1, 1)),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("request's headers")));
}

TEST_F(RequestFramesTest, RefusesLargeFrames) {
  EXPECT_THAT(
      frames_.Read(Head(kSettings, 0, 0, 1 << 20)),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("1048576 bytes in a frame")));
}

TEST(RequestFramesPrefaceTest, RefusesWhatIsNotHttp2) {
  for (const char* bytes : {"GET / HTTP/1.1\r\n", "PRI * HTTP/2.1", "\x16\x03\x01", "x"}) {
    RequestFrames frames;
    EXPECT_THAT(frames.Read(bytes),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HTTP/2")))
        << bytes;
  }
}

}  // namespace
}  // namespace weightd
