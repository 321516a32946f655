// What one uid takes does not keep the others out.

#include <grpcpp/create_channel.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weightd/client.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/fd_passing.h"
#include "common/socket_paths.h"
#include "common/unix_socket.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

// Connects as another user: who connected is what the kernel tells of a socket for good.
std::vector<UniqueFd> ConnectAs(uint32_t uid, const std::string& path, int type, size_t count) {
  std::vector<UniqueFd> connections;
  EXPECT_EQ(::seteuid(uid), 0);
  for (size_t i = 0; i < count; ++i) {
    auto connection = ConnectUnixSocket(path, type, absl::Now() + kPatience);
    if (connection.ok()) connections.push_back(*std::move(connection));
  }
  EXPECT_EQ(::seteuid(0), 0);
  return connections;
}

bool IsClosed(const UniqueFd& connection) {
  char byte = 0;
  return ::recv(connection.get(), &byte, 1, MSG_DONTWAIT) == 0;
}

size_t OpenOf(const std::vector<UniqueFd>& connections) {
  size_t open = 0;
  for (const UniqueFd& connection : connections) open += IsClosed(connection) ? 0 : 1;
  return open;
}

class LimitsTest : public DaemonTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run clients as another user";
    std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
    path_ = MakeModel("model", 1 << 20);
  }
  // Sockets that everybody reaches, as in a shared emptyDir; nobody may attach.
  void StartOpen(std::vector<std::string> flags) {
    for (const char* flag : {"--access.attach-uid", "65534"}) flags.emplace_back(flag);
    Start(std::move(flags));
    std::filesystem::permissions(socket_dir_, std::filesystem::perms(0755));
    for (const std::string& socket : {RpcSocketPath(socket_dir_), HandleSocketPath(socket_dir_)}) {
      std::filesystem::permissions(socket, std::filesystem::perms(0666));
    }
  }
  std::string path_;
};

TEST_F(LimitsTest, IdleConnectionsOfOneUidKeepNobodyOut) {
  StartOpen({"--limits.connections-per-uid-max", "20", "--limits.connections-max", "24"});
  const auto idle = ConnectAs(kNobody, RpcSocketPath(socket_dir_), SOCK_STREAM, 900);
  ASSERT_EQ(idle.size(), 900);
  EXPECT_TRUE(WaitUntil([&] { return OpenOf(idle) == 20; })) << OpenOf(idle);
  EXPECT_EQ(ctl_.Run({"status"}).exit_code, kExitOk);
  const CommandResult refused = ctl_.RunAs(kNobody, kNogroup, {"ls"});
  EXPECT_THAT(refused.err, HasSubstr("limits.connections_per_uid_max"));
  EXPECT_TRUE(daemon_->WaitForLog("connection_refused"));
}

TEST_F(LimitsTest, AConnectionThatEndsMakesRoom) {
  StartOpen({"--limits.connections-per-uid-max", "2"});
  {
    const auto idle = ConnectAs(kNobody, RpcSocketPath(socket_dir_), SOCK_STREAM, 2);
    EXPECT_NE(ctl_.RunAs(kNobody, kNogroup, {"ls"}).exit_code, kExitOk);
  }
  EXPECT_TRUE(
      WaitUntil([&] { return ctl_.RunAs(kNobody, kNogroup, {"ls"}).exit_code == kExitOk; }));
}

TEST_F(LimitsTest, IdleHandleConnectionsOfOneUidKeepNobodyOut) {
  StartOpen({});
  Stage("model");
  const auto idle = ConnectAs(kNobody, HandleSocketPath(socket_dir_), SOCK_SEQPACKET, 900);
  ExpectSameAsFiles("model", {path_});
}

TEST_F(LimitsTest, NobodySendsDescriptors) {
  StartOpen({});
  const std::vector<int> descriptors = {STDERR_FILENO};
  for (const auto& [path, type] : {std::pair(RpcSocketPath(socket_dir_), SOCK_STREAM),
                                   std::pair(HandleSocketPath(socket_dir_), SOCK_SEQPACKET)}) {
    ASSERT_OK_AND_ASSIGN(const UniqueFd connection,
                         ConnectUnixSocket(path, type, absl::Now() + kPatience));
    if (!RefuseDescriptors(connection.get())) GTEST_SKIP() << "needs Linux 6.16";
    EXPECT_THAT(SendFdMessage(connection.get(), "x", descriptors, kPatience),
                StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("send")));
  }
}

TEST_F(DaemonTest, WatchersOfAUidAreCounted) {
  Start({"--limits.watchers-per-uid-max", "1"});
  const auto watcher = ctl_.Start({"ps", "--watch"});
  ASSERT_TRUE(watcher->WaitForOutput("MODEL"));
  EXPECT_THAT(ctl_.Run({"events"}).err, HasSubstr("limits.watchers_per_uid_max"));
  EXPECT_EQ(ctl_.Run({"status"}).exit_code, kExitOk);
  watcher->Kill();
  EXPECT_TRUE(WaitUntil([&] {
    const auto next = ctl_.Start({"ps", "--watch"});
    return next->WaitForOutput("MODEL", absl::Seconds(1));
  }));
}

TEST_F(DaemonTest, CallsOfAUidAreCountedOverItsConnections) {
  Start({"--limits.calls-per-uid-max", "1"});
  const auto watcher = ctl_.Start({"ps", "--watch"});
  ASSERT_TRUE(watcher->WaitForOutput("MODEL"));
  EXPECT_THAT(ctl_.Run({"status"}).err, HasSubstr("limits.calls_per_uid_max"));
  watcher->Kill();
  EXPECT_TRUE(WaitUntil([&] { return ctl_.Run({"status"}).exit_code == kExitOk; }));
}

TEST_F(DaemonTest, AttachesOfAUidThatWaitAreCounted) {
  MakeModel("model", 24 << 20);
  const HeldRead held(dir_, "/model.safetensors", 9'000'000);
  std::vector<std::string> flags = kPread;
  for (const char* flag : {"--limits.waiting-attaches-per-uid-max", "1"}) flags.emplace_back(flag);
  Start(flags, held.environment());
  const auto first = ctl_.Start({"read", "model", "none", "--wait"});
  ASSERT_TRUE(held.WaitUntilReached());
  EXPECT_THAT(ctl_.Run({"read", "model", "none", "--wait"}).err,
              HasSubstr("limits.waiting_attaches_per_uid_max"));
  held.Release();
  EXPECT_TRUE(first->WaitForExit().has_value());
}

// HTTP/2 (RFC 9113) by hand: gRPC's clients always read.
class Flooder {
 public:
  explicit Flooder(const std::string& path) {
    auto connection = ConnectUnixSocket(path, SOCK_STREAM, absl::Now() + kPatience);
    EXPECT_OK(connection);
    if (!connection.ok()) return;
    connection_ = *std::move(connection);
    const std::string largest = "\x7f\xff\xff\xff";
    Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
         Frame(4, 0, 0, std::string("\0\x04", 2) + largest) +  // SETTINGS_INITIAL_WINDOW_SIZE
         Frame(8, 0, 0, std::string("\x7f\xff\0\0", 4)));      // WINDOW_UPDATE of the connection
  }
  // Calls a method of WeightCache with an empty request; false when the socket takes no more now.
  bool Call(absl::string_view method) {
    const std::string head = std::string("\x83\x86") +
                             Literal(":path", absl::StrCat("/weightd.v1.WeightCache/", method)) +
                             Literal(":authority", "weightd") +
                             Literal("content-type", "application/grpc") +
                             Literal("te", "trailers");
    const uint32_t stream = std::exchange(next_, next_ + 2);
    return Send(Frame(1, 4, stream, head) + Frame(0, 1, stream, std::string(5, '\0')));
  }

 private:
  static std::string Literal(absl::string_view name, absl::string_view value) {
    return absl::StrCat(std::string(1, '\0'), std::string(1, static_cast<char>(name.size())), name,
                        std::string(1, static_cast<char>(value.size())), value);
  }
  static std::string BigEndian(uint32_t number, int bytes) {
    std::string text;
    while (--bytes >= 0) text.push_back(static_cast<char>(number >> (8 * bytes)));
    return text;
  }
  static std::string Frame(char type, char flags, uint32_t stream, const std::string& payload) {
    return BigEndian(static_cast<uint32_t>(payload.size()), 3) + type + flags +
           BigEndian(stream, 4) + payload;
  }
  bool Send(const std::string& bytes) {
    return ::send(connection_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
           static_cast<ssize_t>(bytes.size());
  }

  UniqueFd connection_;
  uint32_t next_ = 1;
};

// As many as its limits let one uid do, of calls whose answers nobody reads.
TEST_F(LimitsTest, AFloodOfCallsKeepsNobodyOut) {
  const std::string long_name(150, 'n');  // 300 of them are a list of 100 KB
  for (int i = 0; i < 300; ++i) MakeModel(absl::StrCat(long_name, i), 16);
  StartOpen({"--metrics.address", "127.0.0.1:0", "--limits.queued-bytes-per-uid-max", "1048576"});
  Stage("model");
  std::vector<Flooder> flood;
  EXPECT_EQ(::seteuid(kNobody), 0);
  for (int i = 0; i < 100; ++i) flood.emplace_back(RpcSocketPath(socket_dir_));
  EXPECT_EQ(::seteuid(0), 0);
  for (Flooder& flooder : flood) {
    for (int i = 0; i < 500 && flooder.Call(i % 4 == 0 ? "GetStatus" : "ListModels"); ++i) continue;
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ctl_.Run({"ls"}).exit_code, kExitOk);
    EXPECT_EQ(ctl_.Run({"health"}).exit_code, kExitOk);
    ExpectSameAsFiles("model", {path_});
  }
  EXPECT_TRUE(WaitUntil(
      [&] { return MetricOf("weightd_client_cost_refusals_total{cost=\"queued_bytes\"}") > 0; }));
  // The operator's own lists are told with it.
  EXPECT_LE(MetricOf("weightd_client_costs{cost=\"queued_bytes\"}"), 2 << 20);
  flood.clear();
  EXPECT_TRUE(
      WaitUntil([&] { return MetricOf("weightd_client_costs{cost=\"queued_bytes\"}") == 0; }));
}

// Neither log nor events keep what is longer than a name may be.
TEST_F(DaemonTest, LongNamesAreRefusedAndNotKept) {
  Start();
  const std::string name(20'000, 'm');
  for (const Weightctl::Arguments& arguments : std::vector<Weightctl::Arguments>{
           {"read", name, "t"}, {"stage", name}, {"evict", name}, {"pin", name}}) {
    EXPECT_THAT(ctl_.Run(arguments).err, HasSubstr("model has 20000 bytes, wanted at most 512"));
  }
  EXPECT_THAT(ctl_.Run({"stage", "m", "--device", name}).err, HasSubstr("has 20000 bytes"));
  EXPECT_FALSE(absl::StrContains(ctl_.Run({"events", "--replay", "100", "--timeout", "1s"}).out,
                                 std::string(600, 'm')));
  EXPECT_FALSE(absl::StrContains(daemon_->log(), std::string(600, 'm')));
}

// Pings as fast as they come: gRPC's own limit would end the connection at the third.
TEST_F(DaemonTest, KeepalivePingsEndNoLease) {
  MakeModel("model", 1 << 20);
  Start();
  Stage("model");
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 60'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  const auto channel = grpc::CreateCustomChannel("unix:" + RpcSocketPath(socket_dir_),
                                                 grpc::InsecureChannelCredentials(), arguments);
  const auto stub = v1::WeightCache::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
  v1::AttachRequest request;
  request.set_model("model");
  const auto reader = stub->Attach(&context, request);
  v1::AttachResponse response;
  while (reader->Read(&response)) continue;
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << status.error_message();
  EXPECT_THAT(EventsUntil("LEASE_ENDED").back()["detail"].get<std::string>(),
              ::testing::AnyOf(HasSubstr("deadline"), HasSubstr("cancelled")));
}

TEST_F(DaemonTest, TheLogSaysWhatEndedALease) {
  MakeModel("model", 1 << 20);
  Start();
  Stage("model");
  const auto holder = Attach("model");
  ASSERT_TRUE(holder->is_attached());
  holder->Kill();
  EXPECT_THAT(EventsUntil("LEASE_ENDED").back()["detail"].get<std::string>(),
              HasSubstr("the connection ended"));
}

// A header may have 100 MB: what was staged can be attached to, by every client.
TEST_F(DaemonTest, LargeMetadataComesInPieces) {
  ASSERT_OK(WriteSafetensors(
      InRoot("large/model.safetensors"), {{.name = "t", .dtype = Dtype::kU8, .shape = {64}}},
      {.metadata = {{"format", "pt"}, {"tokenizer", std::string(70 << 20, 'x')}}}));
  Start();
  Stage("large");
  const auto mapping = client::Attach("large", {.socket_dir = socket_dir_});
  ASSERT_TRUE(mapping.ok()) << mapping.status().message();
  EXPECT_EQ(mapping->metadata().at("tokenizer").size(), 70 << 20);
  EXPECT_EQ(mapping->metadata().at("format"), "pt");
  const CommandResult shown = ctl_.Run({"describe", "large"});
  EXPECT_THAT(shown.out, HasSubstr("format = pt"));
  EXPECT_THAT(shown.out, HasSubstr("1 more, too large to be shown"));
}

}  // namespace
}  // namespace weightd::testing
