#include "daemon/main/service_manager.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/main/watchdog.h"
#include "gmock/gmock.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/process/notify_socket.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using testing::NotifySocket;
using ::testing::Optional;
using ::testing::SizeIs;
using testing::TempDir;

class ServiceManagerTest : public ::testing::Test {
 protected:
  ~ServiceManagerTest() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID",
                             "LISTEN_FDS", "LISTEN_FDNAMES"}) {
      ::unsetenv(name);
    }
  }
  static void Set(const char* name, const std::string& value) {
    ASSERT_EQ(::setenv(name, value.c_str(), 1), 0);
  }

  TempDir dir_;
};

TEST_F(ServiceManagerTest, SaysNothingWhereThereIsNone) {
  ServiceManager manager = ServiceManager::FromEnvironment();
  EXPECT_FALSE(manager.is_there());
  EXPECT_EQ(manager.watchdog(), absl::ZeroDuration());
  EXPECT_THAT(manager.TakeSockets(), SizeIs(0));
  manager.Ready("serving");
}

TEST_F(ServiceManagerTest, SendsEachStateAsOneDatagram) {
  const NotifySocket socket(dir_.File("notify"));
  Set("NOTIFY_SOCKET", socket.path());
  const ServiceManager manager = ServiceManager::FromEnvironment();
  EXPECT_TRUE(manager.is_there());
  EXPECT_EQ(std::getenv("NOTIFY_SOCKET"), nullptr) << "a child would take itself for the service";
  manager.Ready("two\nlines");
  EXPECT_THAT(socket.Next(), Optional(std::string("READY=1\nSTATUS=two lines")));
  manager.Reloading();
  EXPECT_THAT(socket.Next(), Optional(MatchesRegex("RELOADING=1\nMONOTONIC_USEC=[0-9]+")));
  manager.Alive("fine");
  EXPECT_THAT(socket.Next(), Optional(std::string("WATCHDOG=1\nSTATUS=fine")));
  manager.Stopping(absl::Seconds(2));
  EXPECT_THAT(socket.Next(),
              Optional(AllOf(HasSubstr("STOPPING=1"), HasSubstr("EXTEND_TIMEOUT_USEC=2000000"))));
}

TEST_F(ServiceManagerTest, ReachesASocketOfTheAbstractNamespace) {
  const NotifySocket socket(absl::StrCat("@weightd-test-", ::getpid()));
  ServiceManager(socket.path()).Status("here");
  EXPECT_THAT(socket.Next(), Optional(std::string("STATUS=here")));
}

TEST_F(ServiceManagerTest, WatchdogOfAnotherProcessIsNotOurs) {
  Set("WATCHDOG_USEC", "5000000");
  Set("WATCHDOG_PID", "1");
  EXPECT_EQ(ServiceManager::FromEnvironment().watchdog(), absl::ZeroDuration());
  Set("WATCHDOG_USEC", "5000000");
  Set("WATCHDOG_PID", absl::StrCat(::getpid()));
  EXPECT_EQ(ServiceManager::FromEnvironment().watchdog(), absl::Seconds(5));
}

TEST_F(ServiceManagerTest, SocketsOfAnotherProcessAreNotOurs) {
  Set("LISTEN_PID", "1");
  Set("LISTEN_FDS", "1");
  EXPECT_THAT(ServiceManager::FromEnvironment().TakeSockets(), SizeIs(0));
}

TEST_F(ServiceManagerTest, WatchdogIsFedAsLongAsTheProbeSucceeds) {
  const NotifySocket socket(dir_.File("notify"));
  const ServiceManager manager(socket.path(), absl::Milliseconds(30));
  std::atomic<bool> works = true;
  std::atomic<int> failures = 0;
  {
    const auto watchdog = Watchdog::Start(
        manager,
        [&]() -> absl::StatusOr<std::string> {
          if (works.load()) return std::string("serving");
          return absl::DeadlineExceededError("no answer");
        },
        [&](const absl::Status&) { ++failures; });
    ASSERT_TRUE(watchdog.ok());
    EXPECT_THAT(socket.Next(), Optional(std::string("WATCHDOG=1\nSTATUS=serving")));
    EXPECT_TRUE(socket.Next().has_value());
    works.store(false);
    EXPECT_TRUE(testing::WaitUntil([&] { return failures.load() > 0; }));
    while (socket.Next(absl::ZeroDuration()).has_value()) {
    }
    EXPECT_FALSE(socket.Next(absl::Milliseconds(100)).has_value()) << "a dead daemon is silent";
    works.store(true);
    EXPECT_TRUE(socket.Next().has_value());
  }
  EXPECT_EQ(failures.load(), 1) << "said once, not with every probe";
}

TEST_F(ServiceManagerTest, WithoutAWatchdogNobodyProbes) {
  const ServiceManager manager(dir_.File("none"));
  std::atomic<int> probes = 0;
  {
    const auto watchdog = Watchdog::Start(
        manager, [&]() -> absl::StatusOr<std::string> { return absl::StrCat(++probes); },
        [](const absl::Status&) {});
    ASSERT_TRUE(watchdog.ok());
  }
  EXPECT_EQ(probes.load(), 0);
}

}  // namespace
}  // namespace weightd
