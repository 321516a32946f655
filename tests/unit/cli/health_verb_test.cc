#include <atomic>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/unit/cli/verbs_fixture.h"
#include "tests/unit/client/fake_grant.h"

namespace weightd::cli {
namespace {

using ::testing::HasSubstr;

class HealthVerbTest : public VerbsTest {
 protected:
  // What the daemon tells of its preloads, one answer after the other; the last one stays.
  void Answer(std::vector<std::vector<v1::Preload>> answers) {
    service_.get_status = [this, answers = std::move(answers)](const v1::GetStatusRequest&,
                                                               v1::GetStatusResponse* status) {
      const size_t index = std::min<size_t>(asked_++, answers.size() - 1);
      for (const v1::Preload& preload : answers[index]) *status->add_preloads() = preload;
      return grpc::Status::OK;
    };
  }
  static v1::Preload Preload(const char* model, v1::PreloadState state, uint64_t done = 0,
                             const char* error = "") {
    v1::Preload preload;
    preload.set_model(model);
    preload.set_state(state);
    preload.set_bytes_done(done);
    preload.set_bytes_total(done == 0 ? 0 : 100);
    preload.set_error(error);
    return preload;
  }

  std::atomic<size_t> asked_ = 0;
};

TEST_F(HealthVerbTest, AnswersByExitCode) {
  EXPECT_EQ(Run({"health"}).out, "SERVING\n");
  service_.SetServing(false);
  const Outcome outcome = Run({"health", "-o", "json"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["status"], "NOT_SERVING");
}

TEST_F(HealthVerbTest, StagedWantsEveryPreloadResident) {
  Answer({{Preload("a", v1::PRELOAD_RESIDENT), Preload("b", v1::PRELOAD_QUEUED),
           Preload("c", v1::PRELOAD_STAGING, 43),
           Preload("d", v1::PRELOAD_FAILED, 0, "no such checkpoint")}});
  const Outcome outcome = Run({"health", "--staged"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_EQ(outcome.out, "WAITING for b: queued; c: staging 43 %; d: failed: no such checkpoint\n");
  EXPECT_EQ(outcome.err,
            "weightctl: health: 3 of 4 preloaded models are not resident: b: queued; "
            "c: staging 43 %; d: failed: no such checkpoint\n");
  EXPECT_EQ(Run({"health"}).code, 0) << "without --staged they do not matter";
  const auto json = nlohmann::json::parse(Run({"health", "--staged", "-o", "json"}).out);
  EXPECT_EQ(json["status"], "SERVING");
  EXPECT_EQ(json["staged"], false);
  EXPECT_EQ(json["preloads"][2]["state"], "PRELOAD_STAGING");
}

TEST_F(HealthVerbTest, StagedIsTrueWhereNothingIsToBePreloaded) {
  Answer({{}});
  EXPECT_EQ(Run({"health", "--staged"}).code, 0);
}

TEST_F(HealthVerbTest, WaitsUntilTheModelsAreThere) {
  Answer({{Preload("a", v1::PRELOAD_ABSENT)},
          {Preload("a", v1::PRELOAD_STAGING, 1)},
          {Preload("a", v1::PRELOAD_RESIDENT)}});
  EXPECT_EQ(Run({"health", "--staged", "--wait", "60s"}).code, 0);
  EXPECT_EQ(asked_.load(), 3u);
}

TEST_F(HealthVerbTest, WaitEndsWithTheLastAnswer) {
  Answer({{Preload("a", v1::PRELOAD_STAGING, 7)}});
  const Outcome outcome = Run({"health", "--staged", "--wait", "250ms"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err, HasSubstr("a: staging 7 %"));
  EXPECT_GE(asked_.load(), 2u);
  EXPECT_LE(asked_.load(), 4u) << "it asks ten times a second at most";
}

TEST_F(HealthVerbTest, WaitForADeadDaemonEndsInTime) {
  service_.Kill();
  const absl::Time start = absl::Now();
  EXPECT_EQ(Run({"health", "--wait", "300ms"}).code, 6);
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(150));
}

TEST_F(HealthVerbTest, NoWaitingForWhatWaitingDoesNotChange) {
  service_.get_status = [](const v1::GetStatusRequest&, v1::GetStatusResponse*) {
    return weightd::testing::RpcError(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_DENIED",
                                      "uid 7");
  };
  EXPECT_EQ(Run({"health", "--staged", "--wait", "10m"}).code, 5);
  EXPECT_EQ(Run({"health", "--wait", "soon"}).code, 2);
}

}  // namespace
}  // namespace weightd::cli
