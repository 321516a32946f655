#ifndef WEIGHTD_TESTS_UNIT_SERVICE_CONNECTION_RELAY_FIXTURE_H_
#define WEIGHTD_TESTS_UNIT_SERVICE_CONNECTION_RELAY_FIXTURE_H_

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "daemon/service/connection_relay.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {

// A relay between socket pairs; the test is both the clients and gRPC.
class ConnectionRelayTest : public ::testing::Test {
 protected:
  // By pid, which tells the connections of a test apart: gRPC's ends.
  void Start(size_t unread_per_uid_max = 2, absl::Duration unread_time = absl::InfiniteDuration()) {
    auto relay =
        ConnectionRelay::Start({.on_begin =
                                    [this](UniqueFd end, ConnectionGate::Admitted admitted) {
                                      absl::MutexLock lock(&mu_);
                                      ends_[admitted.peer.pid] = std::move(end);
                                      shares_.push_back(std::move(admitted.share));
                                    },
                                .on_refused =
                                    [this](const Peer& peer, const absl::Status& why) {
                                      absl::MutexLock lock(&mu_);
                                      refused_[peer.pid] = why;
                                    },
                                .closer = closer_,
                                .unread_per_uid_max = unread_per_uid_max,
                                .unread_time = unread_time});
    ASSERT_OK(relay);
    relay_ = *std::move(relay);
  }

  // The client's end.
  UniqueFd Connect(int32_t pid, uint32_t uid = 1) {
    std::array<int, 2> pair{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    EXPECT_EQ(::fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    ConnectionGate::Admitted admitted;
    admitted.peer.pid = pid;
    admitted.peer.uid = uid;
    auto share = limits_.Take(Cost::kConnections, {.uid = uid});
    auto streams = limits_.Take(Cost::kStreams, {.uid = uid}, 0);
    auto unfinished = limits_.Take(Cost::kUnfinishedRequests, {.uid = uid}, 0);
    EXPECT_OK(share);
    EXPECT_OK(streams);
    EXPECT_OK(unfinished);
    admitted.share = *std::move(share);
    admitted.streams = *std::move(streams);
    admitted.unfinished = *std::move(unfinished);
    relay_->Add(UniqueFd(pair[0]), std::move(admitted));
    return UniqueFd(pair[1]);
  }

  // gRPC's end of the connection; -1 when it has none.
  int End(int32_t pid) {
    absl::MutexLock lock(&mu_);
    const auto found = ends_.find(pid);
    return found == ends_.end() ? -1 : found->second.get();
  }
  int AwaitedEnd(int32_t pid) {
    EXPECT_TRUE(WaitUntil([&] { return End(pid) >= 0; })) << pid;
    return End(pid);
  }
  void CloseEnd(int32_t pid) {
    absl::MutexLock lock(&mu_);
    ends_.erase(pid);
  }
  size_t begun() {
    absl::MutexLock lock(&mu_);
    return ends_.size();
  }

  UidLimits limits_{UidLimitOptions(), 1 << 20};
  DetachedCloser closer_;
  absl::Mutex mu_;
  std::map<int32_t, UniqueFd> ends_ ABSL_GUARDED_BY(mu_);
  std::map<int32_t, absl::Status> refused_ ABSL_GUARDED_BY(mu_);
  std::vector<Share> shares_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<ConnectionRelay> relay_;  // last: its thread uses the rest
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_SERVICE_CONNECTION_RELAY_FIXTURE_H_
