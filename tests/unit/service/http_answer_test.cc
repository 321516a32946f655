#include "daemon/service/http_answer.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(HttpHeadTest, EndsWithAnEmptyLine) {
  for (const char* whole : {"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\nmore",
                            "GET / HTTP/1.0\n\n", "GET / HTTP/1.1\nHost: x\r\n\n"}) {
    EXPECT_TRUE(HasWholeHttpHead(whole, 0)) << whole;
  }
  for (const char* half : {"", "GET", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n",
                           "GET / HTTP/1.1\r\n\r", "GET / HTTP/1.1\r\r"}) {
    EXPECT_FALSE(HasWholeHttpHead(half, 0)) << half;
  }
}

// However it is cut in pieces.
TEST(HttpHeadTest, TheEndIsFoundAcrossPieces) {
  for (const std::string head :
       {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.0\n\n"}) {
    for (size_t searched = 0; searched < head.size(); ++searched) {
      EXPECT_TRUE(HasWholeHttpHead(head, searched)) << head << " after " << searched;
      EXPECT_FALSE(HasWholeHttpHead(head.substr(0, searched), 0)) << head << " at " << searched;
    }
  }
}

int StatusOfLine(const std::string& line) {
  return ParseHttpRequest(absl::StrCat(line, "\r\nHost: x\r\n\r\n")).status;
}

TEST(HttpRequestTest, MetricsAreToBeHad) {
  for (const char* line :
       {"GET /metrics HTTP/1.1", "GET /metrics HTTP/1.0", "HEAD /metrics HTTP/1.1",
        "GET /metrics?name[]=up HTTP/1.1", "GET http://node-1:9464/metrics HTTP/1.1"}) {
    EXPECT_EQ(StatusOfLine(line), kHttpOk) << line;
  }
  EXPECT_TRUE(ParseHttpRequest("GET /metrics HTTP/1.0\n\n").wants_body);
  EXPECT_FALSE(ParseHttpRequest("HEAD /metrics HTTP/1.0\n\n").wants_body);
}

TEST(HttpRequestTest, OthersAreTold) {
  for (const char* line : {"GET / HTTP/1.1", "GET /metrics/ HTTP/1.1", "GET /metricsx HTTP/1.1",
                           "POST /other HTTP/1.1", "GET http://node-1:9464 HTTP/1.1"}) {
    EXPECT_EQ(StatusOfLine(line), kHttpNotFound) << line;
  }
  for (const char* line : {"POST /metrics HTTP/1.1", "get /metrics HTTP/1.1",
                           "OPTIONS /metrics HTTP/1.1", "HEADS /metrics HTTP/1.1"}) {
    EXPECT_EQ(StatusOfLine(line), kHttpMethodNotAllowed) << line;
  }
  for (const char* line :
       {"", " ", "GET", "GET /metrics", "GET  /metrics HTTP/1.1", " /metrics HTTP/1.1",
        "GET /metrics HTTP/2.0", "GET /metrics HTTP/1.1 ", "GET metrics HTTP/1.1", "GET * HTTP/1.1",
        "GET ftp://x/metrics HTTP/1.1", "\x16\x03\x01\x02"}) {
    EXPECT_EQ(StatusOfLine(line), kHttpBadRequest) << line;
  }
}

TEST(HttpAnswerTest, SaysHowLongItIsAndThatItIsTheLast) {
  EXPECT_EQ(HttpAnswerHead(kHttpOk, 12),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            "Content-Length: 12\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(HttpAnswerHead(kHttpMethodNotAllowed, 0),
              AllOf(StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"),
                    HasSubstr("\r\nAllow: GET, HEAD\r\n")));
  EXPECT_THAT(HttpAnswerHead(kHttpHeadTooLarge, 0), StartsWith("HTTP/1.1 431 Request Header "));
  EXPECT_THAT(HttpErrorBody(kHttpNotFound), AllOf(StartsWith("404 "), HasSubstr("/metrics")));
}

}  // namespace
}  // namespace weightd
