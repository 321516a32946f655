#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_OPERATOR_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_OPERATOR_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "tests/integration/history/history.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

namespace weightd::testing {

struct OperatorOptions {
  std::string socket_dir;
  uint64_t seed = 0;
  std::vector<std::string> devices = {"host"};
  // What evictions by force give; one of them each.
  std::vector<absl::Duration> graces = {absl::ZeroDuration()};
};

// Somebody who stages, evicts and pins at random. Thread-compatible.
class HistoryOperator {
 public:
  explicit HistoryOperator(const OperatorOptions& options);

  void WorkUntil(const absl::Notification& stop);
  // Takes back what it pinned, evicts everything that is in memory, and tells whether that worked.
  bool EvictAll();

  const std::vector<Answer>& answers() const { return answers_; }

 private:
  void Stage(const std::string& model);
  void Evict(const std::string& model, bool force);
  void Pin(const std::string& model);
  void Unpin();
  grpc::Status Unpin(const std::string& model);
  const std::string& AnyDevice();
  bool Chance(double probability);
  void Note(const char* call, const std::string& model, const grpc::Status& status);

  const OperatorOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::WeightCache::Stub> stub_;
  std::mt19937_64 random_;
  std::string pinned_;  // the one model, lest nothing fits any more
  std::vector<Answer> answers_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_OPERATOR_H_
