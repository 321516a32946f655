#ifndef WEIGHTD_TESTS_CONTRACT_STORAGE_ONE_ENGINE_H_
#define WEIGHTD_TESTS_CONTRACT_STORAGE_ONE_ENGINE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/storage/pread_read_queue.h"
#include "daemon/storage/read_queue.h"
#include "daemon/storage/uring_read_queue.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {

// A suite that runs on each real engine by itself: CreateReadQueue would give io_uring's buffered
// reads to threads. Skipped where io_uring is forbidden.
class OneEngineTest : public ::testing::TestWithParam<ReadEngine> {
 protected:
  void SetUp() override {
    if (GetParam() != ReadEngine::kUring) return;
    if (const std::string reason = ProbeReadEngine().reason; !reason.empty()) {
      GTEST_SKIP() << reason;
    }
  }

  static absl::StatusOr<std::unique_ptr<ReadQueue>> MakeEngine(ReadQueueOptions options) {
    options.engine = GetParam();
    return options.engine == ReadEngine::kUring ? UringReadQueue::Create(options)
                                                : PreadReadQueue::Create(options);
  }

  static ReadDone ReadOne(const ReadRequest& request, uint32_t retries_max = 2) {
    ReadDone result;
    auto queue =
        MakeEngine({.depth = 2, .stall_timeout = absl::Seconds(20), .retries_max = retries_max});
    EXPECT_OK(queue);
    if (!queue.ok()) return result;
    EXPECT_EQ((*queue)->engine(), GetParam());
    EXPECT_OK((*queue)->Submit(request));
    EXPECT_OK(
        (*queue)->Poll(absl::InfiniteDuration(), [&](const ReadDone& done) { result = done; }));
    return result;
  }
};

inline auto RealEngines() { return ::testing::Values(ReadEngine::kUring, ReadEngine::kPread); }
inline std::string EngineTestName(const ::testing::TestParamInfo<ReadEngine>& info) {
  return info.param == ReadEngine::kUring ? "IoUring" : "Pread";
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_STORAGE_ONE_ENGINE_H_
