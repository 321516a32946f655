#include "daemon/service/metrics_server.h"

#include <prometheus/exposer.h>

#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace weightd {
namespace {

// A connection has a thread until its request is answered or its time is over: connections that say
// nothing, or do not read, must not keep the scraper out. Most of kThreads only ever sleep.
constexpr absl::Duration kRequestTimeout = absl::Seconds(1);

// Settings of civetweb, the library's HTTP server, each a name and a value.
std::vector<std::string> ServerSettings(const std::string& address) {
  return {"listening_ports",    address,
          "num_threads",        absl::StrCat(MetricsServer::kThreads),
          "request_timeout_ms", absl::StrCat(absl::ToInt64Milliseconds(kRequestTimeout)),
          "linger_timeout_ms",  "0"};
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const std::string& address, std::shared_ptr<prometheus::Collectable> metrics) {
  std::unique_ptr<prometheus::Exposer> exposer;
  try {
    exposer = std::make_unique<prometheus::Exposer>(ServerSettings(address));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("metrics: cannot listen on ", address,
                                               " (metrics.address): ", error.what(),
                                               "; is it HOST:PORT of this machine, and free?"));
  }
  exposer->RegisterCollectable(metrics);
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(exposer), std::move(metrics)));
}

MetricsServer::MetricsServer(std::unique_ptr<prometheus::Exposer> exposer,
                             std::shared_ptr<prometheus::Collectable> metrics)
    : metrics_(std::move(metrics)), exposer_(std::move(exposer)) {}

MetricsServer::~MetricsServer() = default;

int MetricsServer::port() const { return exposer_->GetListeningPorts().front(); }

}  // namespace weightd
