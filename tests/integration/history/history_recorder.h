#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_RECORDER_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_RECORDER_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "tests/integration/history/history.h"
#include "weightd/v1/weight_cache.grpc.pb.h"

namespace weightd::testing {

// Watches a daemon from the outside, all the time: its events, its models, its status and leases.
// Thread-compatible; it has a thread for each.
class HistoryRecorder {
 public:
  explicit HistoryRecorder(const std::string& socket_dir);
  HistoryRecorder(const HistoryRecorder&) = delete;
  HistoryRecorder& operator=(const HistoryRecorder&) = delete;
  ~HistoryRecorder();

  // Waits until every event that the daemon has told by now is here, ends, and adds what was seen.
  void Finish(History& history);

 private:
  void RecordEvents();
  void RecordModels();
  void RecordStatus();
  void AskStatus();
  void AskLeases();
  // Of the last event that the daemon keeps; 0 when there is none.
  uint64_t LastSequence();
  void Stop();

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::WeightCache::Stub> stub_;
  grpc::ClientContext events_context_;
  grpc::ClientContext models_context_;
  absl::Notification stop_;

  absl::Mutex mu_;
  std::vector<v1::Event> events_ ABSL_GUARDED_BY(mu_);
  bool events_ended_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<UsageSample> usage_ ABSL_GUARDED_BY(mu_);
  std::vector<LeaseSample> leases_ ABSL_GUARDED_BY(mu_);
  std::set<GenerationSample> generations_ ABSL_GUARDED_BY(mu_);

  std::vector<std::thread> threads_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_RECORDER_H_
