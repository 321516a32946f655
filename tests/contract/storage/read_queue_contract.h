#ifndef WEIGHTD_TESTS_CONTRACT_STORAGE_READ_QUEUE_CONTRACT_H_
#define WEIGHTD_TESTS_CONTRACT_STORAGE_READ_QUEUE_CONTRACT_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/contract/storage/storage_world.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {

// What every ReadQueue does: one engine with its own world per test.
class ReadQueueContractTest : public ::testing::TestWithParam<EngineCase> {
 protected:
  void SetUp() override {
    if (const std::string reason = GetParam().missing(); !reason.empty()) GTEST_SKIP() << reason;
    world_ = GetParam().make_world();
  }

  std::shared_ptr<File> AddFile(const std::string& bytes) {
    world_->AddFile("model.safetensors", bytes);
    return Open();
  }
  std::shared_ptr<File> Open() {
    auto file = world_->volume().Open("model.safetensors");
    EXPECT_OK(file);
    return file.ok() ? *file : nullptr;
  }
  std::unique_ptr<ReadQueue> MakeQueue(const ReadQueueOptions& options = {}) {
    auto queue = GetParam().make_queue(options);
    EXPECT_OK(queue);
    return queue.ok() ? *std::move(queue) : nullptr;
  }
  static std::vector<ReadMode> Modes(const File& file) {
    if (file.direct_alignment() == 0) return {ReadMode::kBuffered};
    return {ReadMode::kBuffered, ReadMode::kDirect};
  }
  // All that is in flight, by tag.
  static std::map<uint64_t, ReadDone> Drain(ReadQueue& queue) {
    std::map<uint64_t, ReadDone> results;
    while (queue.in_flight() > 0) {
      const absl::Status status = queue.Poll(absl::InfiniteDuration(), [&](const ReadDone& done) {
        EXPECT_TRUE(results.emplace(done.tag, done).second) << "tag twice: " << done.tag;
      });
      EXPECT_OK(status);
      if (!status.ok()) break;
    }
    return results;
  }
  static ReadDone ReadOne(ReadQueue& queue, const ReadRequest& request) {
    EXPECT_OK(queue.Submit(request));
    auto results = Drain(queue);
    EXPECT_EQ(results.size(), 1U);
    return results[request.tag];
  }

  std::unique_ptr<StorageWorld> world_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_STORAGE_READ_QUEUE_CONTRACT_H_
