#include "daemon/service/metrics_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/thread.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/http_get.h"
#include "tests/support/process/wait_until.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using testing::ConnectToPort;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::HttpGet;
using ::testing::Not;
using ::testing::StartsWith;
using testing::StatusIs;
using testing::WaitUntil;

constexpr absl::Duration kNever = absl::Hours(1);
constexpr absl::string_view kRequest = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
constexpr absl::string_view kHalf = "GET /metrics HTTP/1.1\r\nX: ";

// One gauge, and how often it was asked for; `help_bytes` makes the text as long.
class Counted final : public prometheus::Collectable {
 public:
  explicit Counted(size_t help_bytes = 0) : help_(help_bytes, 'h') {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    if (++collected_ == 1 && hold_ != nullptr) hold_->WaitForNotification();
    prometheus::MetricFamily family;
    family.name = "test_value";
    family.help = help_;
    family.type = prometheus::MetricType::Gauge;
    prometheus::ClientMetric metric;
    metric.gauge.value = 7;
    family.metric.push_back(metric);
    return {family};
  }
  int collected() const { return collected_; }
  // The first collecting waits for it.
  void HoldFirst(absl::Notification& until) { hold_ = &until; }

 private:
  const std::string help_;
  absl::Notification* hold_ = nullptr;
  mutable std::atomic<int> collected_ = 0;
};

class MetricsServerTest : public ::testing::Test {
 protected:
  using Limits = MetricsServer::Limits;

  void Serve(const Limits& limits, size_t help_bytes = 0) {
    metrics_ = std::make_shared<Counted>(help_bytes);
    auto server = MetricsServer::Start("127.0.0.1:0", metrics_, limits);
    ASSERT_OK(server);
    server_ = *std::move(server);
  }
  // Nothing but the number of connections ends one.
  void ServeSlow(size_t connections_max = 512, size_t help_bytes = 0) {
    Serve({.connections_max = connections_max, .head_timeout = kNever, .answer_timeout = kNever},
          help_bytes);
  }
  UniqueFd Connect() const {
    auto connection = ConnectToPort(server_->port());
    EXPECT_OK(connection);
    // A test that waits for nothing fails instead.
    const timeval most = {.tv_sec = 30, .tv_usec = 0};
    EXPECT_EQ(::setsockopt(connection->get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most)), 0);
    return *std::move(connection);
  }
  static bool Send(const UniqueFd& connection, absl::string_view text) {
    return ::send(connection.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }
  // Until the server closes.
  static std::string ReadAll(const UniqueFd& connection) {
    std::string all;
    std::array<char, 65536> part{};
    while (true) {
      const ssize_t count = ::read(connection.get(), part.data(), part.size());
      if (count < 0) all += "<error>";
      if (count <= 0) return all;
      all.append(part.data(), static_cast<size_t>(count));
    }
  }
  std::string Ask(absl::string_view request) const {
    const UniqueFd connection = Connect();
    EXPECT_TRUE(Send(connection, request));
    return ReadAll(connection);
  }
  static bool IsClosed(const UniqueFd& connection, int timeout_ms) {
    pollfd entry = {.fd = connection.get(), .events = POLLIN | POLLRDHUP, .revents = 0};
    return ::poll(&entry, 1, timeout_ms) == 1 && (entry.revents & (POLLRDHUP | POLLHUP)) != 0;
  }
  void ExpectScrape() const {
    const absl::StatusOr<std::string> text = HttpGet(server_->port(), "/metrics");
    ASSERT_OK(text);
    EXPECT_THAT(*text, HasSubstr("test_value 7\n"));
  }

  std::shared_ptr<Counted> metrics_;
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, AnswersWithTheText) {
  ServeSlow();
  const std::string body = "# TYPE test_value gauge\ntest_value 7\n";
  EXPECT_EQ(Ask(kRequest), absl::StrCat("HTTP/1.1 200 OK\r\n"
                                        "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                                        "Content-Length: ",
                                        body.size(), "\r\nConnection: close\r\n\r\n", body));
  EXPECT_THAT(Ask("GET /metrics HTTP/1.0\n\n"), EndsWith(body));
}

TEST_F(MetricsServerTest, HeadGetsNoBody) {
  ServeSlow();
  EXPECT_THAT(Ask("HEAD /metrics HTTP/1.1\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), EndsWith("\r\n\r\n")));
}

TEST_F(MetricsServerTest, OthersAreToldWhatIsWrong) {
  ServeSlow();
  EXPECT_THAT(Ask("GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask("POST /metrics HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"),
              StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(Ask("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_EQ(metrics_->collected(), 0);
}

// The client still sends when it is told: the answer must not be lost.
TEST_F(MetricsServerTest, AHeadThatIsTooLargeIsRefused) {
  ServeSlow();
  const std::string header(MetricsServer::kHeadBytesMax, 'x');
  EXPECT_THAT(Ask(absl::StrCat("GET /metrics HTTP/1.1\r\nX: ", header, "\r\n\r\n")),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Ask(std::string(1 << 20, 'x')), StartsWith("HTTP/1.1 431 "));
  const size_t most = MetricsServer::kHeadBytesMax - kHalf.size() - 4;
  EXPECT_THAT(Ask(absl::StrCat(kHalf, std::string(most, 'x'), "\r\n\r\n")),
              StartsWith("HTTP/1.1 200 "));
}

TEST_F(MetricsServerTest, AHeadMayComeInPieces) {
  ServeSlow();
  const UniqueFd connection = Connect();
  for (const char byte : kRequest) ASSERT_TRUE(Send(connection, absl::string_view(&byte, 1)));
  EXPECT_THAT(ReadAll(connection), HasSubstr("test_value 7"));
}

TEST_F(MetricsServerTest, AClientThatSendsNoMoreGetsItsAnswer) {
  ServeSlow();
  const UniqueFd connection = Connect();
  ASSERT_TRUE(Send(connection, kRequest));
  ASSERT_EQ(::shutdown(connection.get(), SHUT_WR), 0);
  EXPECT_THAT(ReadAll(connection), HasSubstr("test_value 7"));
}

TEST_F(MetricsServerTest, AConnectionIsForOneRequest) {
  ServeSlow();
  std::string many;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&many, kRequest);
  const std::string answer = Ask(many);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(answer.find("HTTP/1.1", 1), std::string::npos) << "a second answer";
  EXPECT_EQ(metrics_->collected(), 1);
}

// What drips renews nothing.
TEST_F(MetricsServerTest, AHeadHasADeadline) {
  Serve({.head_timeout = absl::Milliseconds(300), .answer_timeout = kNever});
  const UniqueFd silent = Connect();
  const UniqueFd dripping = Connect();
  const absl::Time begin = absl::Now();
  ASSERT_TRUE(Send(dripping, kHalf));
  while (absl::Now() < begin + absl::Seconds(30) && !IsClosed(dripping, /*timeout_ms=*/20)) {
    (void)Send(dripping, "a");
  }
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(200));
  EXPECT_TRUE(IsClosed(silent, /*timeout_ms=*/10'000));
  ExpectScrape();
}

TEST_F(MetricsServerTest, DrippingClientsDoNotKeepTheScraperOut) {
  ServeSlow(/*connections_max=*/64);
  std::vector<UniqueFd> dripping;
  for (int i = 0; i < 300; ++i) {
    dripping.push_back(Connect());
    ASSERT_TRUE(Send(dripping.back(), i % 2 == 0 ? kHalf : ""));
  }
  for (int round = 0; round < 10; ++round) {
    for (const UniqueFd& connection : dripping) (void)Send(connection, "a");
    const absl::Time begin = absl::Now();
    ExpectScrape();
    EXPECT_LT(absl::Now() - begin, absl::Seconds(1));
  }
}

TEST_F(MetricsServerTest, TheOldestWithoutAHeadGoesForTheNewest) {
  ServeSlow(/*connections_max=*/512);
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 600; ++i) silent.push_back(Connect());
  ExpectScrape();
  for (int i = 0; i < 600 - 512; ++i) EXPECT_TRUE(IsClosed(silent[i], 10'000)) << i;
  EXPECT_FALSE(IsClosed(silent.back(), 0));
  ASSERT_TRUE(Send(silent.back(), kRequest));
  EXPECT_THAT(ReadAll(silent.back()), HasSubstr("test_value 7"));
}

// Neither who took nothing, nor the memory of his answer, stays for ever.
TEST_F(MetricsServerTest, AClientThatDoesNotReadIsSentAway) {
  constexpr size_t kLarge = size_t{32} << 20;  // no buffer of the system has as much
  Serve({.head_timeout = kNever, .answer_timeout = absl::Milliseconds(300)}, kLarge);
  const UniqueFd lazy = Connect();
  ASSERT_TRUE(Send(lazy, kRequest));
  ASSERT_TRUE(WaitUntil([&] { return metrics_->collected() == 1; }));
  EXPECT_THAT(Ask("GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 ")) << "meanwhile";
  pollfd entry = {.fd = lazy.get(), .events = POLLRDHUP, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, 20'000), 1) << "it was not sent away";
  EXPECT_LT(ReadAll(lazy).size(), kLarge);
}

TEST_F(MetricsServerTest, ClientsThatDoNotReadDoNotKeepTheScraperOut) {
  constexpr size_t kLarge = size_t{8} << 20;
  ServeSlow(/*connections_max=*/4, kLarge);
  std::vector<UniqueFd> lazy;
  for (int i = 0; i < 12; ++i) {
    lazy.push_back(Connect());
    ASSERT_TRUE(Send(lazy.back(), kRequest));
  }
  ExpectScrape();
}

// All that came while a text was made get the next.
TEST_F(MetricsServerTest, OneTextAnswersAllThatAsk) {
  absl::Notification made;
  metrics_ = std::make_shared<Counted>();
  metrics_->HoldFirst(made);
  auto server = MetricsServer::Start("127.0.0.1:0", metrics_,
                                     {.head_timeout = kNever, .answer_timeout = kNever});
  ASSERT_OK(server);
  server_ = *std::move(server);
  std::vector<UniqueFd> asking;
  for (int i = 0; i < 50; ++i) {
    asking.push_back(Connect());
    ASSERT_TRUE(Send(asking.back(), kRequest));
    if (i == 0) {
      ASSERT_TRUE(WaitUntil([&] { return metrics_->collected() == 1; }));
    }
  }
  made.Notify();
  for (const UniqueFd& connection : asking) {
    EXPECT_THAT(ReadAll(connection), HasSubstr("test_value 7"));
  }
  EXPECT_EQ(metrics_->collected(), 2);
}

TEST_F(MetricsServerTest, ClientsThatHangDoNotHoldUpItsEnd) {
  ServeSlow(/*connections_max=*/512, /*help_bytes=*/size_t{8} << 20);
  std::vector<UniqueFd> hanging;
  for (int i = 0; i < 40; ++i) {
    hanging.push_back(Connect());
    ASSERT_TRUE(Send(hanging.back(), i % 2 == 0 ? kHalf : kRequest));
  }
  ASSERT_TRUE(WaitUntil([&] { return metrics_->collected() > 0; }));
  const absl::Time begin = absl::Now();
  server_.reset();
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
  for (const UniqueFd& connection : hanging) (void)ReadAll(connection);  // until its end
}

TEST_F(MetricsServerTest, AnAddressThatCannotBeHadIsRefused) {
  ServeSlow();
  for (const std::string& address :
       {std::string("192.0.2.1:9464"), std::string("nonsense"), std::string("127.0.0.1:99999"),
        absl::StrCat("127.0.0.1:", server_->port())}) {
    EXPECT_THAT(MetricsServer::Start(address, metrics_),
                StatusIs(absl::StatusCode::kUnavailable,
                         AllOf(HasSubstr(absl::StrCat("metrics: cannot listen on ", address,
                                                      " (metrics.address): ")),
                               HasSubstr("; is it HOST:PORT of this machine, and free?"))));
  }
}

TEST_F(MetricsServerTest, AnswersOnIpv6) {
  auto server = MetricsServer::Start("[::1]:0", std::make_shared<Counted>());
  if (!server.ok()) GTEST_SKIP() << "no IPv6 here: " << server.status();
  const UniqueFd connection(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(static_cast<uint16_t>((*server)->port()));
  address.sin6_addr = in6addr_loopback;
  ASSERT_EQ(
      ::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_TRUE(Send(connection, kRequest));
  EXPECT_THAT(ReadAll(connection), HasSubstr("test_value 7"));
}

}  // namespace
}  // namespace weightd
