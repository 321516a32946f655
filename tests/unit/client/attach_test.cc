#include <sys/wait.h>
#include <unistd.h>
#include <weightd/client.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/temp_dir.h"
#include "tests/unit/client/fake_grant.h"
#include "tests/unit/client/fake_service.h"

namespace weightd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using weightd::testing::FakeService;
using weightd::testing::HandleScript;
using weightd::testing::MakeSealedMemfd;

constexpr absl::Duration kNoticeTimeout = absl::Seconds(20);

class AttachTest : public ::testing::Test {
 protected:
  AttachTest() { Serve(weightd::testing::SmallGrant(), weightd::testing::SmallContent()); }

  void Serve(const weightd::testing::Grant& grant, const std::string& content) {
    service_.SetAttach({.messages = grant.Messages(), .end = {}});
    HandleScript handles;
    handles.fds.push_back(MakeSealedMemfd(content));
    service_.SetHandles(std::move(handles));
  }
  AttachOptions Options() const { return {.socket_dir = dir_.path()}; }

  weightd::testing::TempDir dir_;
  FakeService service_{dir_.path()};
};

// Keeps the notices of a Mapping.
class Notices {
 public:
  std::function<void(const Notice&)> callback() {
    return [this](const Notice& notice) {
      const absl::MutexLock lock(&mu_);
      notices_.push_back(notice);
    };
  }
  std::optional<Notice> Wait(size_t index) {
    const absl::MutexLock lock(&mu_);
    const auto came = [this, index] { return notices_.size() > index; };
    if (!mu_.AwaitWithTimeout(absl::Condition(&came), kNoticeTimeout)) return std::nullopt;
    return notices_[index];
  }
  size_t count() const {
    const absl::MutexLock lock(&mu_);
    return notices_.size();
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<Notice> notices_;
};

TEST_F(AttachTest, MapsEveryTensorOfTheGrant) {
  Result<Mapping> attached = Attach("model", Options());
  ASSERT_TRUE(attached.ok()) << attached.status();
  const Mapping mapping = *std::move(attached);
  EXPECT_EQ(mapping.model(), "model");
  EXPECT_EQ(mapping.generation_id(), 3u);
  EXPECT_EQ(mapping.lease_id(), 7u);
  EXPECT_EQ(mapping.device(), "host");
  EXPECT_EQ(mapping.revision(), "abc123");
  EXPECT_EQ(mapping.metadata().at("format"), "pt");
  EXPECT_EQ(mapping.total_bytes(), 27u);
  EXPECT_TRUE(mapping.lease_held());
  ASSERT_EQ(mapping.tensors().size(), 4u);
  const std::string content = weightd::testing::SmallContent();
  const Tensor* a = mapping.Find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->name, "a");
  EXPECT_EQ(a->dtype, DType::kF32);
  EXPECT_EQ(a->device, "host");
  EXPECT_THAT(a->shape, ElementsAre(2, 3));
  EXPECT_THAT(a->strides, ElementsAre(12, 4));
  EXPECT_EQ(std::memcmp(a->data, content.data(), a->bytes), 0);
  const Tensor* b = mapping.Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_THAT(b->shape, IsEmpty());
  EXPECT_EQ(*static_cast<const unsigned char*>(b->data), 24);
  EXPECT_EQ(mapping.Find("no such tensor"), nullptr);
}

TEST_F(AttachTest, BitPackedTensorsHaveNoStridesAndEmptyOnesNoData) {
  const Result<Mapping> mapping = Attach("model", Options());
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_THAT(mapping->Find("c")->strides, IsEmpty());
  EXPECT_EQ(mapping->Find("c")->bytes, 2u);
  EXPECT_EQ(mapping->Find("empty")->data, nullptr);
  EXPECT_THAT(mapping->Find("empty")->strides, ElementsAre(0, 0));
}

TEST_F(AttachTest, SendsWhatTheOptionsSay) {
  weightd::testing::Grant grant = weightd::testing::SmallGrant();
  grant.granted.set_model("org/name");
  Serve(grant, weightd::testing::SmallContent());
  AttachOptions options = Options();
  options.device = "host";
  options.client_name = "engine";
  const Result<Mapping> mapping = Attach("org/name", options);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_EQ(service_.last_attach().model(), "org/name");
  EXPECT_EQ(service_.last_attach().device(), "host");
  EXPECT_EQ(service_.last_attach().client_name(), "engine");
  EXPECT_EQ(service_.tickets_shown(), 1);
}

TEST_F(AttachTest, FindsEachOfTenThousandTensors) {
  Serve(weightd::testing::LargeGrant(10'000), std::string(640'000, 'x'));
  const Result<Mapping> mapping = Attach("model", Options());
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  ASSERT_EQ(mapping->tensors().size(), 10'000u);
  for (const Tensor& tensor : mapping->tensors()) {
    ASSERT_EQ(mapping->Find(tensor.name), &tensor);
    ASSERT_EQ(std::string_view(static_cast<const char*>(tensor.data), tensor.bytes),
              std::string(64, 'x'));
  }
}

TEST_F(AttachTest, EndOfTheMappingEndsTheStream) {
  {
    const Result<Mapping> mapping = Attach("model", Options());
    ASSERT_TRUE(mapping.ok()) << mapping.status();
    EXPECT_TRUE(service_.WaitForStreams(1));
  }
  EXPECT_TRUE(service_.WaitForStreams(0));
}

TEST_F(AttachTest, MovedMappingKeepsTensorsAndLease) {
  Result<Mapping> attached = Attach("model", Options());
  ASSERT_TRUE(attached.ok()) << attached.status();
  Mapping first = *std::move(attached);
  const Tensor* tensor = first.Find("a");
  Mapping second = std::move(first);
  EXPECT_EQ(second.Find("a"), tensor);
  EXPECT_TRUE(second.lease_held());
  EXPECT_FALSE(first.lease_held());  // NOLINT(bugprone-use-after-move): an empty Mapping
  EXPECT_TRUE(first.tensors().empty());
  EXPECT_EQ(first.Find("a"), nullptr);
  EXPECT_EQ(first.model(), "");
}

TEST_F(AttachTest, AssignmentEndsTheLeaseThatWasHeld) {
  Result<Mapping> attached = Attach("model", Options());
  ASSERT_TRUE(attached.ok()) << attached.status();
  Mapping mapping = *std::move(attached);
  ASSERT_TRUE(service_.WaitForStreams(1));
  mapping = Mapping();
  EXPECT_TRUE(service_.WaitForStreams(0));
  EXPECT_FALSE(mapping.lease_held());
}

TEST_F(AttachTest, PassesNoticesOn) {
  Notices notices;
  AttachOptions options = Options();
  options.on_notice = notices.callback();
  const Result<Mapping> mapping = Attach("model", options);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  v1::AttachResponse message;
  message.mutable_superseded()->set_generation_id(9);
  service_.Notify(message);
  message.Clear();
  message.mutable_draining()->mutable_deadline()->set_seconds(1'700'000'000);
  service_.Notify(message);
  const std::optional<Notice> superseded = notices.Wait(0);
  ASSERT_TRUE(superseded.has_value());
  EXPECT_EQ(superseded->kind, Notice::Kind::kSuperseded);
  EXPECT_EQ(superseded->generation_id, 9u);
  const std::optional<Notice> draining = notices.Wait(1);
  ASSERT_TRUE(draining.has_value());
  EXPECT_EQ(draining->kind, Notice::Kind::kDraining);
  EXPECT_EQ(std::chrono::system_clock::to_time_t(draining->deadline), 1'700'000'000);
  EXPECT_TRUE(mapping->lease_held());
}

TEST_F(AttachTest, LosesTheLeaseAndKeepsTheMemoryWhenTheDaemonDies) {
  Notices notices;
  AttachOptions options = Options();
  options.on_notice = notices.callback();
  const Result<Mapping> mapping = Attach("model", options);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  service_.Kill();
  const std::optional<Notice> lost = notices.Wait(0);
  ASSERT_TRUE(lost.has_value());
  EXPECT_EQ(lost->kind, Notice::Kind::kLeaseLost);
  EXPECT_FALSE(lost->status.ok());
  EXPECT_FALSE(mapping->lease_held());
  EXPECT_EQ(*static_cast<const unsigned char*>(mapping->Find("b")->data), 24);
}

TEST_F(AttachTest, NoticeOfANewerDaemonIsSkippedAndASecondGrantEndsTheLease) {
  Notices notices;
  AttachOptions options = Options();
  options.on_notice = notices.callback();
  const Result<Mapping> mapping = Attach("model", options);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  service_.Notify({});
  v1::AttachResponse again;
  again.mutable_granted();
  service_.Notify(again);
  const std::optional<Notice> lost = notices.Wait(0);
  ASSERT_TRUE(lost.has_value());
  EXPECT_EQ(lost->kind, Notice::Kind::kLeaseLost);
  EXPECT_EQ(lost->status.code(), StatusCode::kInternal);
  EXPECT_TRUE(service_.WaitForStreams(0));
}

TEST_F(AttachTest, NoNoticeWhenTheMappingEndsTheLeaseItself) {
  Notices notices;
  AttachOptions options = Options();
  options.on_notice = notices.callback();
  {
    const Result<Mapping> mapping = Attach("model", options);
    ASSERT_TRUE(mapping.ok()) << mapping.status();
  }
  ASSERT_TRUE(service_.WaitForStreams(0));
  EXPECT_EQ(notices.count(), 0u);
}

// While it waits for a model that is staged.
class WaitingAttachTest : public AttachTest {
 protected:
  // What the daemon says before the grant.
  static v1::AttachResponse ProgressMessage(v1::StagePhase phase, uint64_t bytes_done) {
    v1::AttachResponse message;
    message.mutable_progress()->set_phase(phase);
    message.mutable_progress()->set_bytes_done(bytes_done);
    message.mutable_progress()->set_bytes_total(100);
    message.mutable_progress()->set_bytes_per_second(7);
    message.mutable_progress()->set_jobs_ahead(2);
    return message;
  }
  // It tells of progress, and grants nothing.
  void ServeWait() {
    service_.SetAttach({.messages = {ProgressMessage(v1::READING, 50)}, .end = {}});
  }
  AttachOptions WaitOptions() const {
    AttachOptions options = Options();
    options.policy = AttachPolicy::kWait;
    return options;
  }
};

TEST_F(WaitingAttachTest, TellsHowTheStageGoes) {
  std::vector<v1::AttachResponse> messages = {ProgressMessage(v1::QUEUED, 0),
                                              ProgressMessage(v1::READING, 50),
                                              ProgressMessage(v1::STAGED, 100)};
  const auto grant = weightd::testing::SmallGrant().Messages();
  messages.insert(messages.end(), grant.begin(), grant.end());
  service_.SetAttach({.messages = messages, .end = {}});
  AttachOptions options = WaitOptions();
  std::vector<Progress> seen;  // complete when the grant came
  options.on_progress = [&seen](const Progress& progress) { seen.push_back(progress); };
  const Result<Mapping> mapping = Attach("model", options);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0].phase, Progress::Phase::kQueued);
  EXPECT_EQ(seen[0].jobs_ahead, 2u);
  EXPECT_EQ(seen[1].phase, Progress::Phase::kReading);
  EXPECT_EQ(seen[1].bytes_done, 50u);
  EXPECT_EQ(seen[1].bytes_total, 100u);
  EXPECT_EQ(seen[1].bytes_per_second, 7u);
  EXPECT_EQ(seen[2].phase, Progress::Phase::kStaged);
}

TEST_F(WaitingAttachTest, EndsWhenItIsAskedToStop) {
  ServeWait();
  AttachOptions options = WaitOptions();
  std::stop_source source;
  options.stop_token = source.get_token();
  absl::Notification waits;
  options.on_progress = [&waits](const Progress&) { waits.Notify(); };
  Notices notices;
  options.on_notice = notices.callback();
  std::thread other([&] {
    waits.WaitForNotification();
    source.request_stop();
  });
  const Result<Mapping> mapping = Attach("model", options);
  other.join();
  EXPECT_EQ(mapping.status().code(), StatusCode::kCancelled);
  EXPECT_EQ(mapping.status().reason(), "CANCELLED");
  EXPECT_TRUE(service_.WaitForStreams(0));
  EXPECT_EQ(notices.count(), 0u);
}

TEST_F(WaitingAttachTest, BeginsNothingAfterAStop) {
  AttachOptions options = Options();
  options.socket_dir = "/nonexistent";
  std::stop_source source;
  source.request_stop();
  options.stop_token = source.get_token();
  EXPECT_EQ(Attach("model", options).status().code(), StatusCode::kCancelled);
}

TEST_F(WaitingAttachTest, AStopAfterwardsLeavesTheLeaseAlone) {
  AttachOptions options = Options();
  std::stop_source source;
  options.stop_token = source.get_token();
  const Result<Mapping> mapping = Attach("model", options);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  source.request_stop();
  EXPECT_TRUE(mapping->lease_held());
}

// The child's copy of a Mapping must not end the parent's lease, and must not wait for threads that
// the child does not have.
TEST_F(AttachTest, MappingIsInertInAForkedChild) {
  Result<Mapping> attached = Attach("model", Options());
  ASSERT_TRUE(attached.ok()) << attached.status();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool readable = *static_cast<const unsigned char*>(attached->Find("b")->data) == 24;
    *attached = Mapping();
    ::_exit(readable ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(attached->lease_held());
}

}  // namespace
}  // namespace weightd::client
