#include "client/cli/top_view.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "gmock/gmock.h"
#include "tests/unit/cli/verbs_fixture.h"

namespace weightd::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TopLook LookAfter(absl::Duration time, uint64_t bytes_done) {
  TopLook look;
  look.time = absl::FromUnixSeconds(1000) + time;
  look.status.set_version("1.2.3");
  look.status.mutable_start_time()->set_seconds(940);
  look.status.mutable_storage()->set_engine("io_uring");
  v1::Device& host = *look.status.add_devices();
  host.set_id("host");
  host.set_used_bytes(5'000'000'000);
  host.set_budget_bytes(10'000'000'000);
  v1::Model& model = *look.models.add_models();
  model.set_name("org/llama");
  v1::Generation& staging = *model.add_generations();
  staging.set_device("host");
  staging.set_state(v1::STAGING);
  staging.set_job_id(7);
  staging.set_phase(v1::READING);
  staging.set_bytes_done(bytes_done);
  staging.set_bytes_total(10'000'000'000);
  staging.set_bytes_per_second(1'000'000'000);
  for (const char* client : {"vllm", "vllm", "sglang"}) {
    v1::Lease& lease = *look.leases.add_leases();
    lease.set_model("org/other");
    lease.set_device("host");
    lease.set_client_name(client);
  }
  return look;
}

TEST(TopViewTest, ShowsMemoryStagesAndLeases) {
  TopView view;
  std::ostringstream out;
  view.Show(LookAfter(absl::ZeroDuration(), 2'000'000'000), false, out);
  EXPECT_THAT(out.str(),
              AllOf(HasSubstr("weightd 1.2.3, serving, up 1m, io_uring"),
                    HasSubstr("host    [##########----------]  50 %  5.0 GB  10.0 GB"),
                    HasSubstr("org/llama     host    reading  [####----------------]  20 %"),
                    HasSubstr("org/other     host         3  sglang, vllm")));
}

TEST(TopViewTest, SaysWhichVolumeHangs) {
  TopLook look = LookAfter(absl::ZeroDuration(), 2'000'000'000);
  look.status.add_volumes()->set_root("/answers");
  v1::VolumeStatus& hangs = *look.status.add_volumes();
  hangs.set_root("/hangs");
  hangs.set_reads_stuck(1);
  hangs.set_bytes_stuck(2'000'000'000);
  hangs.set_reads_stuck_at("org/llama/model.safetensors at 4096");
  hangs.mutable_reads_stuck_since()->set_seconds(1'700'000'000);
  std::ostringstream out;
  TopView().Show(look, false, out);
  EXPECT_THAT(out.str(),
              AllOf(HasSubstr("stuck: /hangs: 1 read does not come back since "),
                    HasSubstr("(org/llama/model.safetensors at 4096); 2.0 GB stay booked")));
  EXPECT_THAT(out.str(), Not(HasSubstr("/answers")));
}

TEST(TopViewTest, SaysAllThatAVolumeDoesNotAnswer) {
  TopLook look = LookAfter(absl::ZeroDuration(), 2'000'000'000);
  v1::VolumeStatus& hangs = *look.status.add_volumes();
  hangs.set_root("/hangs");
  hangs.set_reads_stuck(8);
  v1::StuckCall& reads = *hangs.add_stuck();
  reads.set_what("read m/a.safetensors at 4096");
  reads.mutable_since()->set_seconds(1'700'000'000);
  reads.set_calls(8);
  reads.set_model("m");
  reads.set_bytes(2'000'000'000);
  v1::StuckCall& call = *hangs.add_stuck();
  call.set_what("list n");
  call.mutable_since()->set_seconds(1'700'000'001);
  call.set_calls(1);
  std::ostringstream out;
  TopView().Show(look, false, out);
  EXPECT_THAT(out.str(),
              AllOf(HasSubstr("stuck: /hangs: read m/a.safetensors at 4096, of m, does not come "
                              "back since "),
                    HasSubstr(", nor do 7 others; 2.0 GB stay booked until then\n"),
                    HasSubstr("stuck: /hangs: list n does not come back since ")));
}

TEST(TopViewTest, TheRateIsThatSinceTheLookBefore) {
  TopView view;
  std::ostringstream first;
  view.Show(LookAfter(absl::ZeroDuration(), 2'000'000'000), false, first);
  EXPECT_THAT(first.str(), HasSubstr("1.0 GB/s    8s")) << "since reading began";
  std::ostringstream second;
  view.Show(LookAfter(absl::Seconds(2), 8'000'000'000), false, second);
  EXPECT_THAT(second.str(), HasSubstr("3.0 GB/s"));
  std::ostringstream stalled;
  view.Show(LookAfter(absl::Seconds(4), 8'000'000'000), false, stalled);
  EXPECT_THAT(stalled.str(), HasSubstr("10.0 GB     -     -"));
}

class TopVerbTest : public VerbsTest {};

TEST_F(TopVerbTest, OnceIsOneLookAndOneDocument) {
  service_.get_status = [](const v1::GetStatusRequest&, v1::GetStatusResponse* status) {
    *status = LookAfter({}, 0).status;
    return grpc::Status::OK;
  };
  service_.list_models = [](const v1::ListModelsRequest& request, v1::ListModelsResponse* models) {
    EXPECT_TRUE(request.resident_only());
    *models = LookAfter({}, 0).models;
    return grpc::Status::OK;
  };
  service_.list_leases = [](const v1::ListLeasesRequest&, v1::ListLeasesResponse* leases) {
    *leases = LookAfter({}, 0).leases;
    return grpc::Status::OK;
  };
  EXPECT_THAT(Run({"top", "--once"}).out, HasSubstr("org/llama"));
  const auto json = nlohmann::json::parse(Run({"top", "--once", "-o", "json"}).out);
  EXPECT_EQ(json["models"][0]["generations"][0]["job_id"], 7);
  EXPECT_EQ(json["leases"].size(), 3u);
  EXPECT_EQ(Run({"top", "--interval", "never"}).code, 2);
}

}  // namespace
}  // namespace weightd::cli
