#ifndef WEIGHTD_DAEMON_SERVICE_METRICS_SERVER_H_
#define WEIGHTD_DAEMON_SERVICE_METRICS_SERVER_H_

#include <prometheus/collectable.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace prometheus {
class Exposer;
}  // namespace prometheus

namespace weightd {

// Answers GET /metrics over HTTP, on threads of its own, until it is destroyed. Who may connect is
// the network's matter: what is told are sizes and counts. Thread-safe.
class MetricsServer {
 public:
  static constexpr int kThreads = 64;

  // `address` is PORT or HOST:PORT, an IPv6 host in brackets; port 0 takes one that is free.
  // UNAVAILABLE when nobody can listen there.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const std::string& address, std::shared_ptr<prometheus::Collectable> metrics);
  ~MetricsServer();

  int port() const;

 private:
  MetricsServer(std::unique_ptr<prometheus::Exposer> exposer,
                std::shared_ptr<prometheus::Collectable> metrics);

  const std::shared_ptr<prometheus::Collectable> metrics_;
  const std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_METRICS_SERVER_H_
