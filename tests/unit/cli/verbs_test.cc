#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/verbs_fixture.h"
#include "tests/unit/client/fake_grant.h"

// Whole command lines against the double of the service.

namespace weightd::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using weightd::testing::RpcError;

TEST_F(VerbsTest, AMistypedCommandIsToldWhatItProbablyMeant) {
  const Outcome mistyped = Run({"stge", "org/llama"});
  EXPECT_EQ(mistyped.code, 2);
  EXPECT_EQ(mistyped.err,
            "weightctl: there is no command `stge`; did you mean `stage`? see weightctl --help\n");
  EXPECT_EQ(Run({"frobnicate"}).err,
            "weightctl: there is no command `frobnicate`; see weightctl --help\n");
  EXPECT_EQ(Run({}).err, "weightctl: A subcommand is required; see weightctl --help\n");
}

TEST_F(VerbsTest, OptionMayHaveAnEmptyValue) {
  EXPECT_EQ(RunAll({"weightctl", "--socket-dir=", "--help"}).code, 0) << "--help is not the value";
}

TEST_F(VerbsTest, LsShowsModelsAsTableAndAsJson) {
  service_.list_models = [](const v1::ListModelsRequest& request, v1::ListModelsResponse* answer) {
    EXPECT_FALSE(request.resident_only());
    *answer->add_models() = SmallModel();
    return grpc::Status::OK;
  };
  const Outcome table = Run({"ls"});
  EXPECT_EQ(table.code, 0);
  EXPECT_THAT(table.out, AllOf(HasSubstr("MODEL"), HasSubstr("org/llama  5.0 GB      2")));
  EXPECT_THAT(table.err, IsEmpty());
  const Outcome json = Run({"ls", "-o", "json"});
  const auto parsed = nlohmann::json::parse(json.out);
  EXPECT_EQ(parsed["models"][0]["file_bytes"], 5'000'000'000);
  EXPECT_EQ(parsed["models"][0]["generations"][0]["state"], "RESIDENT");
}

TEST_F(VerbsTest, PsAsksOnlyForWhatIsInMemory) {
  service_.list_models = [](const v1::ListModelsRequest& request, v1::ListModelsResponse* answer) {
    EXPECT_TRUE(request.resident_only());
    *answer->add_models() = SmallModel();
    return grpc::Status::OK;
  };
  const Outcome outcome = Run({"ps"});
  EXPECT_THAT(outcome.out, HasSubstr("org/llama           4  host    resident  5.0 GB"));
}

TEST_F(VerbsTest, TensorsJoinsAllPages) {
  service_.get_model = [](const v1::GetModelRequest& request, v1::GetModelResponse* answer) {
    const bool first = request.page_token().empty();
    v1::Tensor* tensor = answer->add_tensors();
    tensor->set_name(first ? "a" : "b");
    tensor->set_dtype(v1::BF16);
    tensor->add_shape(2);
    tensor->add_shape(3);
    if (first) answer->set_next_page_token("2");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"tensors", "llama"}).out,
            "TENSOR  DTYPE  SHAPE   BYTES  XXH3-128\n"
            "a       BF16   [2, 3]      0  -\n"
            "b       BF16   [2, 3]      0  -\n");
  const auto json = nlohmann::json::parse(Run({"tensors", "llama", "-o", "json"}).out);
  EXPECT_EQ(json["tensors"].size(), 2u);
  EXPECT_EQ(json["next_page_token"], "");
}

TEST_F(VerbsTest, DescribeShowsModelAndMetadata) {
  service_.get_model = [](const v1::GetModelRequest& request, v1::GetModelResponse* answer) {
    EXPECT_EQ(request.page_size(), 0u);
    *answer->mutable_model() = SmallModel();
    (*answer->mutable_metadata())["format"] = "pt";
    return grpc::Status::OK;
  };
  EXPECT_THAT(Run({"describe", "org/llama"}).out,
              AllOf(HasSubstr("model     org/llama"), HasSubstr("metadata  format = pt")));
}

// Nothing was read, so there is no engine to name.
TEST_F(VerbsTest, DescribeSaysFromWhereACopyWasMade) {
  service_.get_model = [](const v1::GetModelRequest&, v1::GetModelResponse* answer) {
    *answer->mutable_model() = SmallModel();
    v1::StageReport& report = *answer->mutable_model()->mutable_generations(0)->mutable_report();
    report.set_job_id(7);
    report.set_source("host");
    report.set_copied_bytes(2'000'000);
    return grpc::Status::OK;
  };
  EXPECT_THAT(Run({"describe", "org/llama"}).out,
              HasSubstr("staged    by job 7, 2.0 MB from host\n"));
}

grpc::Status StageSlowly(const v1::StageModelRequest&, std::vector<v1::StageModelResponse>* out) {
  v1::StageModelResponse& queued = out->emplace_back();
  queued.set_job_id(5);
  queued.set_phase(v1::QUEUED);
  v1::StageModelResponse& reading = out->emplace_back();
  reading.set_phase(v1::READING);
  reading.set_bytes_done(1);
  reading.set_bytes_total(2);
  v1::StageModelResponse& staged = out->emplace_back();
  staged.set_phase(v1::STAGED);
  v1::Generation& generation = *staged.add_generations();
  generation.set_id(4);
  generation.set_device("host");
  generation.set_tensor_count(1);
  return grpc::Status::OK;
}

TEST_F(VerbsTest, StageWaitsWithLinesOfProgress) {
  service_.stage_model = [](const v1::StageModelRequest& request,
                            std::vector<v1::StageModelResponse>* answers) {
    EXPECT_FALSE(request.detached());
    EXPECT_TRUE(request.pin());
    EXPECT_THAT(request.devices(), ::testing::ElementsAre("host"));
    return StageSlowly(request, answers);
  };
  const Outcome outcome = Run({"stage", "llama", "--wait", "--pin", "--device", "host"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "llama: queued\nllama: reading 50 %  1 B of 2 B\n");
  EXPECT_EQ(outcome.out, "llama resident on host: 0 B, 1 tensor, generation 4\n");
}

TEST_F(VerbsTest, StageWithoutWaitReturnsWhenTheJobIsAccepted) {
  service_.stage_model = [](const v1::StageModelRequest& request,
                            std::vector<v1::StageModelResponse>* answers) {
    EXPECT_TRUE(request.detached());
    return StageSlowly(request, answers);
  };
  const Outcome outcome = Run({"stage", "llama"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out, "llama: job 5 accepted, queued\n");
  EXPECT_THAT(outcome.err, IsEmpty());
  EXPECT_EQ(nlohmann::json::parse(Run({"stage", "llama", "-o", "json"}).out)["job_id"], 5);
}

TEST_F(VerbsTest, StageThatEndsBeforeTheModelIsResidentIsAnError) {
  service_.stage_model = [](const v1::StageModelRequest& request,
                            std::vector<v1::StageModelResponse>* answers) {
    grpc::Status status = StageSlowly(request, answers);
    answers->pop_back();
    return status;
  };
  EXPECT_EQ(Run({"stage", "llama", "--wait"}).code, 1);
}

TEST_F(VerbsTest, ErrorsNameVerbModelTextAndHint) {
  service_.evict_model = [](const v1::EvictModelRequest&, v1::EvictModelResponse*) {
    return RpcError(grpc::StatusCode::FAILED_PRECONDITION, "MODEL_LEASED", "2 leases hold it");
  };
  const Outcome outcome = Run({"evict", "llama"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.out, IsEmpty());
  EXPECT_EQ(outcome.err,
            "weightctl: evict llama: 2 leases hold it\n"
            "hint: `weightctl leases` shows who holds it; `weightctl evict --force` tells them and "
            "evicts\n");
}

TEST_F(VerbsTest, EvictPinAndUnpinSayWhatTheyDid) {
  service_.evict_model = [](const v1::EvictModelRequest&, v1::EvictModelResponse* answer) {
    answer->set_bytes_freed(2000);
    answer->set_generations(1);
    return grpc::Status::OK;
  };
  service_.pin_model = [](const v1::PinModelRequest&, v1::PinModelResponse* answer) {
    answer->add_generations()->set_pinned(true);
    return grpc::Status::OK;
  };
  service_.unpin_model = [](const v1::UnpinModelRequest&, v1::UnpinModelResponse* answer) {
    answer->add_generations();
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"evict", "m"}).out, "m: 1 copy evicted, 2.0 kB freed\n");
  EXPECT_THAT(Run({"pin", "m"}).out, HasSubstr("is pinned"));
  EXPECT_THAT(Run({"unpin", "m"}).out, HasSubstr("is not pinned"));
}

TEST_F(VerbsTest, LeasesShowsHoldersAndDashesForAnUnseenPid) {
  service_.list_leases = [](const v1::ListLeasesRequest& request, v1::ListLeasesResponse* answer) {
    EXPECT_EQ(request.model(), "llama");
    v1::Lease* lease = answer->add_leases();
    lease->set_id(9);
    lease->set_model("llama");
    lease->set_client_name("engine");
    return grpc::Status::OK;
  };
  const Outcome outcome = Run({"leases", "llama"});
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("engine"), HasSubstr("  -  ")));
}

TEST_F(VerbsTest, EventsStopsAfterCountAndReportsGaps) {
  service_.watch_events = [](const v1::WatchEventsRequest& request,
                             std::vector<v1::WatchEventsResponse>* answers) {
    EXPECT_EQ(request.replay(), 3u);
    for (const uint64_t sequence : {1, 4, 5}) {
      v1::Event* event = answers->emplace_back().mutable_event();
      event->set_sequence(sequence);
      event->set_type(v1::STAGE_DONE);
      event->set_model("llama");
    }
    return grpc::Status::OK;
  };
  const Outcome outcome = Run({"events", "--replay", "3", "--count", "2", "-o", "json"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 2);
  EXPECT_THAT(outcome.err, HasSubstr("2 events missed"));
  EXPECT_THAT(Run({"events", "--replay", "3", "--count", "1"}).out,
              HasSubstr("STAGE_DONE  model=llama"));
}

TEST_F(VerbsTest, StatusShowsDevicesAndWarnings) {
  service_.get_status = [](const v1::GetStatusRequest&, v1::GetStatusResponse* answer) {
    answer->set_version("1.2.3");
    answer->add_warnings()->set_text("small pages");
    answer->set_default_device("host");
    answer->add_devices()->set_id("host");
    answer->mutable_storage()->set_engine("pread");
    answer->mutable_storage()->set_engine_reason("seccomp");
    return grpc::Status::OK;
  };
  EXPECT_THAT(Run({"status"}).out,
              AllOf(HasSubstr("version   1.2.3"), HasSubstr("warning   small pages"),
                    HasSubstr("pread (seccomp)"), HasSubstr("host (default)")));
  EXPECT_EQ(nlohmann::json::parse(Run({"version", "-o", "json"}).out)["daemon"], "1.2.3");
}

TEST_F(VerbsTest, StagesShowsHowEachWentAndWhatFailed) {
  service_.list_stage_reports = [](const v1::ListStageReportsRequest&,
                                   v1::ListStageReportsResponse* answer) {
    v1::StageReport& failed = *answer->add_reports();
    failed.set_job_id(8);
    failed.set_error("read shard at 7: input/output error");
    v1::StageReport& good = *answer->add_reports();
    good.set_job_id(7);
    good.set_model("llama");
    good.set_engine("io_uring");
    good.set_direct_bytes(2'000'000);
    good.set_cached_bytes(1'000'000);
    good.mutable_read_time()->set_seconds(2);
    good.mutable_plan_time()->set_nanos(12'000'000);
    good.mutable_verify_time()->set_nanos(3'000'000);
    return grpc::Status::OK;
  };
  const Outcome outcome = Run({"stages"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("read shard at 7"), HasSubstr("io_uring"),
                    HasSubstr("2.0 MB direct, 1.0 MB out of the page cache"),
                    HasSubstr("plan 12 ms, read 2.0 s, copy 0 ms, verify 3 ms, publish 0 ms")));
  EXPECT_EQ(nlohmann::json::parse(Run({"stages", "-o", "json"}).out)["reports"][1]["job_id"], 7);
}

TEST_F(VerbsTest, StageTakesABandwidthWithAUnit) {
  uint64_t asked = 0;
  service_.stage_model = [&](const v1::StageModelRequest& request,
                             std::vector<v1::StageModelResponse>* answers) {
    asked = request.bytes_per_second_max();
    return StageSlowly(request, answers);
  };
  EXPECT_EQ(Run({"stage", "llama", "--bandwidth", "500MB"}).code, 0);
  EXPECT_EQ(asked, 500'000'000);
  EXPECT_EQ(Run({"stage", "llama", "--bandwidth", "fast"}).code, 2);
}

class ReadVerbTest : public VerbsTest {
 protected:
  ReadVerbTest() {
    service_.SetAttach({.messages = weightd::testing::SmallGrant().Messages(), .end = {}});
    weightd::testing::HandleScript handles;
    handles.fds.push_back(weightd::testing::MakeSealedMemfd(weightd::testing::SmallContent()));
    service_.SetHandles(std::move(handles));
  }
};

TEST_F(ReadVerbTest, WritesTheTensorsBytes) {
  const UniqueFd out(::memfd_create("out", MFD_CLOEXEC));
  EXPECT_EQ(Run({"read", "model", "a"}, out.get()).code, 0);
  std::string bytes(100, '\0');
  bytes.resize(static_cast<size_t>(::pread(out.get(), bytes.data(), bytes.size(), 0)));
  EXPECT_EQ(bytes, weightd::testing::SmallContent().substr(0, 24));
  EXPECT_EQ(service_.last_attach().client_name(), "weightctl read");
}

TEST_F(ReadVerbTest, UnknownTensorIsNotFound) {
  const Outcome outcome = Run({"read", "model", "nope"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("weightctl: read model nope: "));
}

TEST_F(ReadVerbTest, ReaderThatLeftIsAnError) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd out(ends[0]);
  ::close(ends[1]);
  const auto previous = std::signal(SIGPIPE, SIG_IGN);
  const Outcome outcome = Run({"read", "model", "a"}, out.get());
  std::signal(SIGPIPE, previous);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("weightctl: read model a: write to stdout: Broken pipe"));
}

TEST_F(ReadVerbTest, FullDiskIsAnError) {
  const UniqueFd out(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  const Outcome outcome = Run({"read", "model", "a"}, out.get());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("write to stdout"));
}

TEST_F(VerbsTest, UnreachableDaemonIsExitCode6) {
  service_.Kill();
  const Outcome outcome = Run({"ls"});
  EXPECT_EQ(outcome.code, 6);
  EXPECT_THAT(outcome.err, HasSubstr("weightctl: ls: connect to "));
  EXPECT_EQ(Run({"version"}).code, 0);
}

TEST_F(VerbsTest, WrongCommandLinesAreExitCode2AndNameTheMistake) {
  EXPECT_EQ(Run({}).code, 2);
  EXPECT_EQ(Run({"tensors"}).code, 2);
  EXPECT_EQ(Run({"frobnicate"}).code, 2);
  EXPECT_THAT(Run({"ls", "-o", "xml"}).err, HasSubstr("xml"));
  EXPECT_THAT(Run({"ls", "--timeout", "soon"}).err, HasSubstr("soon"));
  EXPECT_EQ(Run({"events", "--replay", "1025"}).code, 2);
}

TEST_F(VerbsTest, HelpShowsVerbsAndExitCodes) {
  const Outcome outcome = Run({"--help"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("stage"), HasSubstr("6  daemon unreachable")));
  EXPECT_THAT(outcome.err, IsEmpty());
}

}  // namespace
}  // namespace weightd::cli
