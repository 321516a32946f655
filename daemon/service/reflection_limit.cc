#include "daemon/service/reflection_limit.h"

#include <grpcpp/server_context.h>

#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "daemon/service/peer_credentials.h"

namespace weightd {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerInterceptorFactoryInterface;
using grpc::experimental::ServerRpcInfo;

// Thread-safe.
class Streams {
 public:
  bool Take(uint32_t uid) {
    absl::MutexLock lock(&mu_);
    uint32_t& count = by_uid_[uid];
    if (count >= kReflectionStreamsPerUidMax) return false;
    ++count;
    return true;
  }
  void Give(uint32_t uid) {
    absl::MutexLock lock(&mu_);
    const auto count = by_uid_.find(uid);
    if (--count->second == 0) by_uid_.erase(count);
  }

 private:
  absl::Mutex mu_;
  std::unordered_map<uint32_t, uint32_t> by_uid_ ABSL_GUARDED_BY(mu_);
};

// Lives as long as its call.
class ReflectionCall final : public Interceptor {
 public:
  ReflectionCall(ServerRpcInfo* info, const PeerRegistry& peers, Streams& streams)
      : info_(info), peers_(peers), streams_(streams) {}
  ~ReflectionCall() override {
    if (is_counted_) streams_.Give(uid_);
  }

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      const auto peer = peers_.Find(info_->server_context()->peer());
      uid_ = peer.has_value() ? peer->uid : kUnknownUid;
      is_counted_ = streams_.Take(uid_);
      if (!is_counted_) info_->server_context()->TryCancel();
    }
    methods->Proceed();
  }

 private:
  ServerRpcInfo* const info_;
  const PeerRegistry& peers_;
  Streams& streams_;
  uint32_t uid_ = 0;
  bool is_counted_ = false;
};

class ReflectionLimit final : public ServerInterceptorFactoryInterface {
 public:
  explicit ReflectionLimit(const PeerRegistry& peers) : peers_(peers) {}

  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    if (!absl::StartsWith(info->method(), "/grpc.reflection.")) return nullptr;
    return new ReflectionCall(info, peers_, streams_);
  }

 private:
  const PeerRegistry& peers_;
  Streams streams_;
};

}  // namespace

std::unique_ptr<ServerInterceptorFactoryInterface> MakeReflectionLimit(const PeerRegistry& peers) {
  return std::make_unique<ReflectionLimit>(peers);
}

}  // namespace weightd
