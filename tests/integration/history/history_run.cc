#include "tests/integration/history/history_run.h"

#include <cstdlib>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "tests/integration/history/history_recorder.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

constexpr size_t kOperators = 2;

uint64_t NumberFrom(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  uint64_t number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : otherwise;
}

}  // namespace

uint64_t HistorySeed() { return NumberFrom("WEIGHTD_HISTORY_SEED", std::random_device()()); }

int HistoryClientCount(int usual) {
  return static_cast<int>(NumberFrom("WEIGHTD_HISTORY_CLIENTS", static_cast<uint64_t>(usual)));
}

History RunHistory(const RunOptions& options, VolumePublisher& publisher) {
  std::mt19937_64 seeds(options.seed);
  HistoryRecorder recorder(options.clients.socket_dir);
  absl::Notification stop;
  std::vector<std::thread> threads;
  threads.emplace_back([&, seed = seeds()] { EXPECT_OK(publisher.PublishUntil(stop, seed)); });
  std::vector<std::unique_ptr<HistoryOperator>> operators;
  for (size_t i = 0; i < kOperators; ++i) {
    OperatorOptions one = options.operators;
    one.seed = seeds();
    operators.push_back(std::make_unique<HistoryOperator>(one));
    threads.emplace_back([&stop, actor = operators.back().get()] { actor->WorkUntil(stop); });
  }
  ClientsOptions with_seed = options.clients;
  with_seed.seed = seeds();
  HistoryClients clients(with_seed);
  clients.Run();
  stop.Notify();
  for (std::thread& thread : threads) thread.join();

  History history;
  EXPECT_TRUE(WaitUntil([&] { return operators.front()->EvictAll(); })) << "something stays";
  recorder.Finish(history);
  history.clients = clients.stories();
  history.versions = publisher.versions();
  for (const auto& actor : operators) {
    history.answers.insert(history.answers.end(), actor->answers().begin(), actor->answers().end());
  }
  return history;
}

}  // namespace weightd::testing
