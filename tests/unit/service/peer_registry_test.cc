#include "daemon/service/peer_registry.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/unique_fd.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/wait_until.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

namespace weightd {
namespace {

using testing::WaitUntil;

struct SocketPair {
  SocketPair() {
    std::array<int, 2> pair{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()), 0);
    ours.reset(pair[0]);
    theirs.reset(pair[1]);
  }
  UniqueFd ours;
  UniqueFd theirs;
};

class PeerRegistryTest : public ::testing::Test {
 protected:
  ConnectionGate::Admitted AdmittedWithPid(int32_t pid) {
    ConnectionGate::Admitted admitted;
    admitted.peer.pid = pid;
    auto share = limits_.Take(Cost::kConnections, {.uid = 1});
    EXPECT_OK(share);
    admitted.share = *std::move(share);
    return admitted;
  }

  UidLimits limits_{UidLimitOptions(), 1 << 20};
  PeerRegistry registry_;
};

std::string NameOf(const UniqueFd& fd) { return absl::StrCat("fd:", fd.get()); }

TEST_F(PeerRegistryTest, FindsThePeerByGrpcsName) {
  const SocketPair pair;
  ASSERT_OK(registry_.Register(pair.ours.get(), AdmittedWithPid(7)));
  ASSERT_TRUE(registry_.Find(NameOf(pair.ours)).has_value());
  EXPECT_EQ(registry_.Find(NameOf(pair.ours))->pid, 7);
}

TEST_F(PeerRegistryTest, KnowsNoOtherNames) {
  for (const char* name : {"", "fd:", "fd:x", "fd:100", "unix:/x", "ipv4:1.2.3.4:5", "fd:1 00"}) {
    EXPECT_FALSE(registry_.Find(name).has_value()) << name;
  }
}

TEST_F(PeerRegistryTest, ANumberThatIsAnotherFileNowIsNobody) {
  SocketPair pair;
  const SocketPair other;
  ASSERT_OK(registry_.Register(pair.ours.get(), AdmittedWithPid(7)));
  ASSERT_EQ(::dup3(other.ours.get(), pair.ours.get(), O_CLOEXEC), pair.ours.get());
  EXPECT_FALSE(registry_.Find(NameOf(pair.ours)).has_value());
  ASSERT_OK(registry_.Register(pair.ours.get(), AdmittedWithPid(8)));
  EXPECT_EQ(registry_.Find(NameOf(pair.ours))->pid, 8);
  EXPECT_EQ(limits_.taken(Cost::kConnections), 1);
}

TEST_F(PeerRegistryTest, TellsWhetherTheOtherEndIsThere) {
  SocketPair pair;
  ASSERT_OK(registry_.Register(pair.ours.get(), AdmittedWithPid(7)));
  EXPECT_TRUE(registry_.IsConnected(NameOf(pair.ours)));
  pair.theirs.reset();
  EXPECT_FALSE(registry_.IsConnected(NameOf(pair.ours)));
  EXPECT_FALSE(registry_.IsConnected("fd:100000"));
}

TEST_F(PeerRegistryTest, ForgetsConnectionsThatAreClosed) {
  const SocketPair stays;
  ASSERT_OK(registry_.Register(stays.ours.get(), AdmittedWithPid(1)));
  {
    const SocketPair ends;
    ASSERT_OK(registry_.Register(ends.ours.get(), AdmittedWithPid(2)));
  }
  EXPECT_EQ(limits_.taken(Cost::kConnections), 2);
  registry_.Sweep();
  EXPECT_EQ(registry_.size(), 1);
  EXPECT_EQ(limits_.taken(Cost::kConnections), 1);
  EXPECT_TRUE(registry_.Find(NameOf(stays.ours)).has_value());
}

// Numbers that are not used again at once, as a process with many other files has it.
TEST_F(PeerRegistryTest, DoesNotGrowWithConnectionsThatWere) {
  for (int i = 0; i < 2000; ++i) {
    const SocketPair pair;
    const UniqueFd moved(::fcntl(pair.ours.get(), F_DUPFD_CLOEXEC, 300 + i % 500));
    ASSERT_TRUE(moved.valid());
    ASSERT_OK(registry_.Register(moved.get(), AdmittedWithPid(i)));
    ASSERT_LE(registry_.size(), 65);
  }
}

// What the registry relies on: as long as an RPC is there, gRPC does not close the descriptor of
// its connection, though the client is long gone.
class StatusService final : public v1::WeightCache::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest*,
                                      v1::GetStatusResponse*) override {
    context_ = context;
    reactor_ = new Reactor(*this);
    called.Notify();
    return reactor_;
  }
  std::string peer() const { return context_->peer(); }
  void Finish() { reactor_->Finish(grpc::Status::OK); }

  absl::Notification called;
  absl::Notification cancelled;

 private:
  class Reactor final : public grpc::ServerUnaryReactor {
   public:
    explicit Reactor(StatusService& service) : service_(service) {}
    void OnCancel() override { service_.cancelled.Notify(); }
    void OnDone() override { delete this; }

   private:
    StatusService& service_;
  };

  grpc::CallbackServerContext* context_ = nullptr;
  Reactor* reactor_ = nullptr;
};

TEST_F(PeerRegistryTest, GrpcKeepsTheDescriptorWhileAnRpcIsThere) {
  StatusService service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  SocketPair pair;
  const std::string name = NameOf(pair.ours);
  ASSERT_OK(registry_.Register(pair.ours.get(), AdmittedWithPid(7)));
  grpc::AddInsecureChannelFromFd(server.get(), pair.ours.release());
  // A copy, to end the connection whatever the client's library does.
  const UniqueFd client_end(::fcntl(pair.theirs.get(), F_DUPFD_CLOEXEC, 0));
  auto channel = grpc::CreateInsecureChannelFromFd("test", pair.theirs.release());
  const auto stub = v1::WeightCache::NewStub(channel);
  grpc::ClientContext context;
  const v1::GetStatusRequest request;
  v1::GetStatusResponse response;
  absl::Notification answered;
  stub->async()->GetStatus(&context, &request, &response,
                           [&](const grpc::Status&) { answered.Notify(); });
  service.called.WaitForNotification();
  EXPECT_EQ(service.peer(), name);
  ASSERT_EQ(::shutdown(client_end.get(), SHUT_RDWR), 0);
  service.cancelled.WaitForNotification();
  answered.WaitForNotification();
  EXPECT_EQ(service.peer(), name);
  ASSERT_TRUE(registry_.Find(name).has_value());
  EXPECT_EQ(registry_.Find(name)->pid, 7);
  EXPECT_FALSE(registry_.IsConnected(name));
  service.Finish();
  EXPECT_TRUE(WaitUntil([&] { return !registry_.Find(name).has_value(); }));
  server->Shutdown();
}

}  // namespace
}  // namespace weightd
