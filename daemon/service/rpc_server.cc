#include "daemon/service/rpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>

#include <utility>

#include "daemon/service/peer_credentials.h"

namespace weightd {
namespace {

// Requests are names and numbers; larger ones are mistakes or worse.
constexpr int kReceiveBytesMax = 64 * 1024;
constexpr int kStreamsPerConnectionMax = 1024;

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(int listener, const AccessList& access,
                                                            PeerRegistry& peers,
                                                            WeightCacheService& service) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  std::unique_ptr<RpcServer> server(new RpcServer(access, peers));
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  builder.SetMaxReceiveMessageSize(kReceiveBytesMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) return absl::InternalError("start the gRPC server: it refused");
  server->SetServing(false);
  server->acceptor_ = std::make_unique<ConnectionAcceptor>(
      listener,
      [raw = server.get()](UniqueFd connection) { raw->OnConnection(std::move(connection)); });
  return server;
}

RpcServer::~RpcServer() {
  StopAccepting();
  if (server_ != nullptr) Shutdown(absl::Now());
}

void RpcServer::SetServing(bool serving) {
  if (grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService()) {
    health->SetServingStatus(serving);
    health->SetServingStatus("weightd.v1.WeightCache", serving);
  }
}

void RpcServer::Shutdown(absl::Time deadline) {
  server_->Shutdown(absl::ToChronoTime(deadline));
  server_->Wait();
}

void RpcServer::OnConnection(UniqueFd connection) {
  const absl::StatusOr<Peer> peer = ReadPeer(connection.get());
  // Who is not on the list learns why on the handle socket; here the connection just ends.
  if (!peer.ok() || !access_.Check(*peer, Right::kAttach).ok()) return;
  absl::StatusOr<UniqueFd> moved = peers_.Register(std::move(connection), *peer);
  if (!moved.ok()) return;
  grpc::AddInsecureChannelFromFd(server_.get(), moved->release());
}

}  // namespace weightd
