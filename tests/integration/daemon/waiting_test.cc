// Attaches that wait, evictions by force, and lists that stream.

#include <google/protobuf/util/time_util.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr uint64_t kModelBytes = 4 << 20;

// An attach with a policy, whose messages are read one by one.
class WaitingAttach {
 public:
  WaitingAttach(const std::string& socket_dir, const v1::AttachRequest& request)
      : stub_(v1::WeightCache::NewStub(Connect(socket_dir))),
        reader_(stub_->Attach(&context_, request)) {}
  WaitingAttach(const WaitingAttach&) = delete;
  WaitingAttach& operator=(const WaitingAttach&) = delete;
  ~WaitingAttach() {
    if (!finished_) Finish();
  }

  // Up to the first message that is no progress; false when the call ended before.
  bool ReadPastProgress() {
    while (reader_->Read(&message_)) {
      if (message_.message_case() != v1::AttachResponse::kProgress) return true;
      ++progress_count_;
    }
    return false;
  }
  grpc::Status Finish() {
    context_.TryCancel();
    return End();
  }
  grpc::Status End() {
    finished_ = true;
    return reader_->Finish();
  }
  const v1::AttachResponse& message() const { return message_; }
  int progress_count() const { return progress_count_; }

 private:
  grpc::ClientContext context_;
  const std::unique_ptr<v1::WeightCache::Stub> stub_;
  const std::unique_ptr<grpc::ClientReader<v1::AttachResponse>> reader_;
  v1::AttachResponse message_;
  int progress_count_ = 0;
  bool finished_ = false;
};

v1::AttachRequest WaitFor(const std::string& model, int64_t timeout_ms = 60'000) {
  v1::AttachRequest request;
  request.set_model(model);
  request.set_policy(v1::WAIT);
  *request.mutable_timeout() = google::protobuf::util::TimeUtil::MillisecondsToDuration(timeout_ms);
  return request;
}

TEST_F(DaemonTest, AttachThatWaitsHasTheModelStaged) {
  MakeModel("model", kModelBytes);
  Start();
  v1::AttachRequest request;
  request.set_model("model");
  WaitingAttach refused(socket_dir_, request);
  EXPECT_FALSE(refused.ReadPastProgress());
  EXPECT_EQ(refused.End().error_code(), grpc::StatusCode::FAILED_PRECONDITION);

  WaitingAttach waits(socket_dir_, WaitFor("model"));
  ASSERT_TRUE(waits.ReadPastProgress());
  EXPECT_GT(waits.progress_count(), 0);
  EXPECT_EQ(waits.message().granted().model(), "model");
  EXPECT_EQ(LeaseCount(), 1);
  // Resident now: nothing to wait for.
  WaitingAttach second(socket_dir_, WaitFor("model"));
  ASSERT_TRUE(second.ReadPastProgress());
  EXPECT_EQ(second.progress_count(), 0);
}

TEST_F(DaemonTest, AttachThatWaitsIsToldWhyItCannotBeStaged) {
  Start({"--host.budget_bytes", "4194304"});
  MakeModel("large", 16 << 20);
  WaitingAttach large(socket_dir_, WaitFor("large"));
  EXPECT_FALSE(large.ReadPastProgress());
  const grpc::Status status = large.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("does not fit on host: needs"));
  WaitingAttach unknown(socket_dir_, WaitFor("unknown"));
  EXPECT_FALSE(unknown.ReadPastProgress());
  EXPECT_EQ(unknown.End().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(DaemonTest, AttachWaitsNoLongerThanItSays) {
  MakeModel("model", kModelBytes);
  const HeldRead held(dir_, "model.safetensors", 0);
  Start(kPread, held.environment());
  WaitingAttach waits(socket_dir_, WaitFor("model", 300));
  EXPECT_FALSE(waits.ReadPastProgress());
  const grpc::Status status = waits.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("not resident after 300ms"));
  held.Release();
  // It was the only one interested.
  const auto events = EventsUntil("STAGE_FAILED");
  EXPECT_EQ(events.back()["reason"], "CANCELLED");
  EXPECT_THAT(Resident(), IsEmpty());
}

TEST_F(DaemonTest, ClientThatLeavesWhileItWaitsCancelsItsJob) {
  MakeModel("model", kModelBytes);
  const HeldRead held(dir_, "model.safetensors", 0);
  Start(kPread, held.environment());
  {
    WaitingAttach waits(socket_dir_, WaitFor("model"));
    ASSERT_TRUE(held.WaitUntilReached());
  }
  held.Release();
  EXPECT_EQ(EventsUntil("STAGE_FAILED").back()["reason"], "CANCELLED");
  EXPECT_EQ(LeaseCount(), 0);
  StopCleanly();
}

TEST_F(DaemonTest, EvictionByForceEndsLeasesAndPins) {
  const std::string path = MakeModel("model", kModelBytes);
  Start();
  Stage("model");
  EXPECT_EQ(ctl_.Run({"pin", "model"}).exit_code, kExitOk);
  const auto holder = Attach("model", {path});
  const CommandResult evicted = ctl_.Run({"evict", "model", "--force", "--grace", "0s"});
  EXPECT_EQ(evicted.exit_code, kExitOk) << evicted;
  EXPECT_THAT(evicted.out, HasSubstr("1 copy evicted"));
  EXPECT_THAT(evicted.out, HasSubstr("1 lease revoked"));
  EXPECT_EQ(LeaseCount(), 0);
  EXPECT_EQ(UsedBytes(), 0);
  // Host memory that is mapped stays what it was.
  EXPECT_THAT(holder->Compare(), StartsWith("same "));
  EventsUntil("LEASE_REVOKED");
  Stage("model");
  EXPECT_EQ(DeviceStatus()["pinned_bytes"], 0);
}

TEST_F(DaemonTest, HoldersAreToldOfAnEvictionByForceAndMayLeaveFirst) {
  MakeModel("model", kModelBytes);
  Start();
  Stage("model");
  WaitingAttach holder(socket_dir_, WaitFor("model"));
  ASSERT_TRUE(holder.ReadPastProgress());
  Weightctl other(socket_dir_);
  CommandResult evicted;
  std::thread operator_thread([&] {
    evicted = other.Run({"evict", "model", "--force", "--grace", "5m"});
  });
  while (holder.message().message_case() != v1::AttachResponse::kRevoking) {
    if (!holder.ReadPastProgress()) break;
  }
  EXPECT_EQ(holder.message().message_case(), v1::AttachResponse::kRevoking);
  // Nobody else gets it any more.
  WaitingAttach late(socket_dir_, WaitFor("model"));
  EXPECT_FALSE(late.ReadPastProgress());
  EXPECT_THAT(late.End().error_message(), HasSubstr("being evicted by force"));
  holder.Finish();
  operator_thread.join();
  EXPECT_EQ(evicted.exit_code, kExitOk) << evicted;
  EXPECT_THAT(evicted.out, ::testing::Not(HasSubstr("revoked")));
  EXPECT_EQ(UsedBytes(), 0);
}

TEST_F(DaemonTest, ModelsAreStreamedAfterEachChange) {
  MakeModel("model", kModelBytes);
  Start();
  const auto stub = v1::WeightCache::NewStub(Connect(socket_dir_));
  grpc::ClientContext context;
  const auto reader = stub->WatchModels(&context, v1::WatchModelsRequest());
  v1::WatchModelsResponse list;
  ASSERT_TRUE(reader->Read(&list));
  EXPECT_EQ(list.models_size(), 0);
  Stage("model");
  const auto is_resident = [&] {
    return list.models_size() == 1 && list.models(0).generations(0).state() == v1::RESIDENT;
  };
  while (!is_resident()) ASSERT_TRUE(reader->Read(&list));
  EXPECT_EQ(list.models(0).name(), "model");
  EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitOk);
  while (list.models_size() != 0) ASSERT_TRUE(reader->Read(&list));
  // It ends with the daemon, and does not hold that up.
  StopCleanly();
  while (reader->Read(&list)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(DaemonTest, GenerationsAreNamedOnTheCommandLine) {
  MakeModel("model", kModelBytes);
  Start();
  Stage("model");
  const std::string by_id = absl::StrCat("model@", GenerationOf("model"));
  EXPECT_EQ(ctl_.Run({"pin", by_id}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.Run({"unpin", by_id}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.Run({"evict", "model@4711"}).exit_code, kExitNotReady);
  EXPECT_EQ(ctl_.Run({"evict", "model@"}).exit_code, kExitUsage);
  EXPECT_EQ(ctl_.Run({"evict", by_id}).exit_code, kExitOk);
  EXPECT_THAT(Resident(), IsEmpty());
}

}  // namespace
}  // namespace weightd::testing
