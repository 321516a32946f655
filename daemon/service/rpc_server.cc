#include "daemon/service/rpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/status_macros.h"
#include "common/thread.h"
#include "daemon/service/parse_failure.h"
#include "daemon/service/peer_credentials.h"

namespace weightd {
namespace {

// Requests are names and numbers; larger ones are mistakes or worse.
constexpr int kReceiveBytesMax = 64 * 1024;
constexpr int kStreamsPerConnectionMax = 1024;

constexpr char kServed[] = "weightd.v1.WeightCache";

// For clients to take the end of calls that were cancelled.
constexpr absl::Duration kCancelledTime = absl::Milliseconds(300);

// A client may find out as often as it likes whether we are there (Go's clients by default every
// 10 s): gRPC would end its connection with "too_many_pings", and every lease on it.
void AllowPings(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
}

}  // namespace

RpcServer::RpcServer(const Dependencies& with)
    : with_(with),
      reflection_(with.calls,
                  {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", kServed}) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(int listener,
                                                            const Dependencies& with) {
  grpc::EnableDefaultHealthCheckService(true);
  std::unique_ptr<RpcServer> server(new RpcServer(with));
  grpc::ServerBuilder builder;
  builder.RegisterService(&with.service);
  builder.RegisterService(&server->reflection_);
  builder.SetMaxReceiveMessageSize(kReceiveBytesMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
  AllowPings(builder);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> between;
  between.push_back(MakeParseFailures());
  builder.experimental().SetInterceptorCreators(std::move(between));
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) return absl::InternalError("start the gRPC server: it refused");
  server->SetServing(false);
  RpcServer* raw = server.get();
  ASSIGN_OR_RETURN(
      server->relay_,
      ConnectionRelay::Start({.on_begin =
                                  [raw](UniqueFd connection, ConnectionGate::Admitted admitted) {
                                    raw->OnBegin(std::move(connection), std::move(admitted));
                                  },
                              .on_refused =
                                  [&gate = with.gate](const Peer& peer, const absl::Status& why) {
                                    gate.TellOfEnd(peer, why);
                                  },
                              .closer = with.closer}));
  ASSIGN_OR_RETURN(
      server->acceptor_,
      ConnectionAcceptor::Start(
          {.name = "accept-rpc",
           .listener = listener,
           .on_connection =
               [raw](UniqueFd connection) { raw->OnConnection(std::move(connection)); },
           .may_accept = [closer = &with.closer] { return !closer->full(); }}));
  return server;
}

RpcServer::~RpcServer() {
  StopAccepting();
  if (server_ != nullptr) Shutdown(absl::Now());
}

void RpcServer::StopAccepting() {
  acceptor_.reset();
  if (relay_ != nullptr) relay_->StopBeginning();
}

void RpcServer::SetServing(bool serving) {
  if (grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService()) {
    health->SetServingStatus(serving);
    health->SetServingStatus(kServed, serving);
  }
}

void RpcServer::Shutdown(absl::Time deadline) {
  // A call that is cancelled ends when what was written before it is sent: never, where the client
  // does not read.
  absl::Notification ended;
  const absl::StatusOr<Thread> disconnects = Thread::Start("end calls", [&] {
    if (ended.WaitForNotificationWithDeadline(deadline + kCancelledTime)) return;
    // A thread of gRPC polls for what could not be written, up to 10 s, and the end of the library
    // would wait for it: it ends with the process.
    grpc_init();
    with_.peers.Disconnect();
  });
  server_->Shutdown(absl::ToChronoTime(deadline));
  server_->Wait();
  ended.Notify();
  if (relay_ != nullptr) (void)relay_->AwaitEnd(kCancelledTime);
}

void RpcServer::OnConnection(UniqueFd connection) {
  absl::StatusOr<Peer> peer = ReadPeer(connection.get());
  if (!peer.ok()) return with_.closer.CloseSocket(std::move(connection), kUnknownUid);
  const uint32_t uid = peer->uid;
  // Who is refused learns why on the handle socket; here the connection just ends.
  const absl::Status stuck = CheckDescriptorsOf(uid, with_.closer);
  if (!stuck.ok()) {
    with_.gate.TellOfEnd(*peer, stuck);
    return with_.closer.CloseSocket(std::move(connection), uid);
  }
  absl::StatusOr<ConnectionGate::Admitted> admitted =
      with_.gate.Admit(*std::move(peer), Cost::kConnections, [this] { with_.peers.Sweep(); });
  if (!admitted.ok()) return with_.closer.CloseSocket(std::move(connection), uid);
  relay_->Add(std::move(connection), *std::move(admitted));
}

void RpcServer::OnBegin(UniqueFd connection, ConnectionGate::Admitted admitted) {
  if (!with_.peers.Register(connection.get(), std::move(admitted)).ok()) return;
  grpc::AddInsecureChannelFromFd(server_.get(), connection.release());
}

}  // namespace weightd
