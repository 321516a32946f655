#include <fcntl.h>
#include <weightd/client.h>

#include <functional>
#include <ostream>
#include <string>
#include <utility>

#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/temp_dir.h"
#include "tests/unit/client/fake_grant.h"
#include "tests/unit/client/fake_service.h"

// What the daemon must not send, and what an attach makes of it: an error that says which rule is
// broken, and nothing that stays open.

namespace weightd::client {
namespace {

using ::testing::HasSubstr;
using weightd::testing::Grant;
using weightd::testing::HandleScript;
using weightd::testing::MakeMemfd;
using weightd::testing::MakeSealedMemfd;
using weightd::testing::SmallContent;
using weightd::testing::SmallGrant;

class GrantCheckTest : public ::testing::Test {
 protected:
  Status AttachTo(const std::vector<v1::AttachResponse>& messages, HandleScript handles,
                  std::optional<grpc::Status> end = std::nullopt,
                  const std::string& model = "model") {
    service_.SetAttach({.messages = messages, .end = std::move(end)});
    service_.SetHandles(std::move(handles));
    Status status = Attach(model, {.socket_dir = dir_.path()}).status();
    EXPECT_TRUE(service_.WaitForStreams(0));
    return status;
  }
  static HandleScript With(UniqueFd memory) {
    HandleScript handles;
    handles.fds.push_back(std::move(memory));
    return handles;
  }
  static HandleScript GoodHandles() { return With(MakeSealedMemfd(SmallContent())); }

  weightd::testing::TempDir dir_;
  weightd::testing::FakeService service_{dir_.path()};
};

// Breaks one thing of a grant that is right.
struct BadGrant {
  const char* name;
  std::function<void(Grant&)> break_it;
  const char* message;
};
std::ostream& operator<<(std::ostream& out, const BadGrant& bad) { return out << bad.name; }

class BadGrantTest : public GrantCheckTest, public ::testing::WithParamInterface<BadGrant> {};

TEST_P(BadGrantTest, IsRefused) {
  Grant grant = SmallGrant();
  GetParam().break_it(grant);
  const Status status = AttachTo(grant.Messages(), GoodHandles());
  EXPECT_EQ(status.code(), StatusCode::kInternal) << status;
  EXPECT_THAT(status.message(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadGrantTest,
    ::testing::Values(
        BadGrant{"TicketTooShort", [](Grant& g) { g.granted.set_fd_ticket("short"); }, "ticket"},
        BadGrant{"NoTicket", [](Grant& g) { g.granted.clear_fd_ticket(); }, "ticket"},
        BadGrant{"DescriptorIndexOutOfRange",
                 [](Grant& g) { g.granted.mutable_allocations(0)->set_fd_index(1); },
                 "descriptor 1 of 1"},
        BadGrant{"AllocationWithoutHandle",
                 [](Grant& g) { g.granted.mutable_allocations(0)->clear_handle(); },
                 "without a descriptor"},
        BadGrant{"CudaHandleForHostMemory",
                 [](Grant& g) {
                   g.granted.mutable_allocations(0)->set_cuda_ipc_handle(std::string(64, 'h'));
                 },
                 "without a descriptor"},
        BadGrant{"DescriptorForAGpu", [](Grant& g) { g.granted.set_device("GPU-1"); },
                 "without a CUDA IPC handle"},
        BadGrant{"AllocationLongerThanItsDescriptor",
                 [](Grant& g) { g.granted.mutable_allocations(0)->set_bytes(65); },
                 "has 64 bytes, announced were 65"},
        BadGrant{"AllocationOfHalfTheAddressSpace",
                 [](Grant& g) { g.granted.mutable_allocations(0)->set_bytes(uint64_t{1} << 63); },
                 "announced were"},
        BadGrant{"TensorsMissing", [](Grant& g) { g.granted.set_tensor_count(5); },
                 "announced were 5"},
        BadGrant{"TooManyTensors", [](Grant& g) { g.granted.set_tensor_count(3); },
                 "announced were 3"},
        BadGrant{"CountBeyondMemory", [](Grant& g) { g.granted.set_tensor_count(~uint64_t{0}); },
                 "announces 18446744073709551615 tensors, more than 16000000"},
        BadGrant{"OtherModel", [](Grant& g) { g.granted.set_model("evil\n"); },
                 "it is of model evil\\n, asked for was model"},
        BadGrant{"NoModel", [](Grant& g) { g.granted.clear_model(); }, "asked for was model"},
        BadGrant{"TensorBytesDiffer", [](Grant& g) { g.granted.set_tensor_bytes(28); }, "of 28"}),
    [](const auto& test) { return test.param.name; });

// A grant of generation 3 and of the revision that the test gives it.
TEST_F(GrantCheckTest, TakesAGrantOfWhatWasAskedForAndNoOther) {
  const std::string commit(40, 'c');
  Grant grant = SmallGrant();
  grant.granted.set_revision(commit);
  const auto ask = [&](const std::string& model) {
    return AttachTo(grant.Messages(), GoodHandles(), std::nullopt, model);
  };
  for (const std::string& model :
       {std::string("model"), std::string("model@3"), "model@" + commit,
        "model@" + commit.substr(0, 7), std::string("model@main"), std::string("model@refs/pr/1"),
        std::string("model@0abc"), "model@" + std::string(40, 'C')}) {
    EXPECT_TRUE(ask(model).ok()) << model << ": " << ask(model);
  }
  EXPECT_THAT(ask("model@4").message(), HasSubstr("it is of generation 3, asked for was 4"));
  EXPECT_THAT(ask("model@" + std::string(40, 'd')).message(),
              HasSubstr("it is of revision " + commit + ", asked for was dddd"));
  EXPECT_THAT(ask("mode").message(), HasSubstr("it is of model model, asked for was mode"));
  EXPECT_THAT(ask("model/x").message(), HasSubstr("asked for was model/x"));
}

TEST_F(GrantCheckTest, RefusesDescriptorsThatCouldChange) {
  const std::vector<v1::AttachResponse> messages = SmallGrant().Messages();
  const Status writable =
      AttachTo(messages, With(MakeMemfd(SmallContent(), F_SEAL_SHRINK | F_SEAL_GROW)));
  EXPECT_EQ(writable.code(), StatusCode::kInternal);
  EXPECT_THAT(writable.message(), HasSubstr("not sealed against writing"));
  const Status shrinkable =
      AttachTo(messages, With(MakeMemfd(SmallContent(), F_SEAL_WRITE | F_SEAL_GROW)));
  EXPECT_THAT(shrinkable.message(), HasSubstr("not sealed against resizing"));
  const Status file = AttachTo(messages, With(UniqueFd(::open("/proc/self/exe", O_RDONLY))));
  EXPECT_THAT(file.message(), HasSubstr("not a memfd"));
}

TEST_F(GrantCheckTest, AcceptsTheSealAgainstFutureWriting) {
  UniqueFd memory = MakeMemfd(SmallContent(), F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
  EXPECT_TRUE(AttachTo(SmallGrant().Messages(), With(std::move(memory))).ok());
}

TEST_F(GrantCheckTest, PassesTheHandleSocketsErrorOn) {
  HandleScript handles;
  handles.status = ErrorWithReason(absl::StatusCode::kPermissionDenied, Reason::kTicketInvalid,
                                   "ticket is used");
  const Status status = AttachTo(SmallGrant().Messages(), std::move(handles));
  EXPECT_EQ(status.reason(), "TICKET_INVALID");
  EXPECT_THAT(status.message(), HasSubstr("ticket is used"));
}

TEST_F(GrantCheckTest, RefusesAReplyThatIsNone) {
  HandleScript handles = GoodHandles();
  handles.raw_reply = "?";
  EXPECT_EQ(AttachTo(SmallGrant().Messages(), std::move(handles)).code(), StatusCode::kInternal);
}

TEST_F(GrantCheckTest, RefusesMessagesOutOfOrder) {
  const std::vector<v1::AttachResponse> good = SmallGrant().Messages();
  v1::AttachResponse notice;
  notice.mutable_superseded()->set_generation_id(4);
  const std::vector<std::vector<v1::AttachResponse>> orders = {
      {good[1], good[0], good[2]},     {good[2]}, {good[0], good[0]}, {good[0], notice},
      {good[0], v1::AttachResponse()}, {notice},
  };
  for (const auto& messages : orders) {
    const Status status = AttachTo(messages, GoodHandles());
    EXPECT_EQ(status.code(), StatusCode::kInternal) << status;
    EXPECT_THAT(status.message(), HasSubstr("out of order"));
  }
}

TEST_F(GrantCheckTest, RefusesAStreamThatEndsEarly) {
  std::vector<v1::AttachResponse> messages = SmallGrant().Messages();
  messages.pop_back();
  const Status status = AttachTo(messages, GoodHandles(), grpc::Status::OK);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("ended before"));
}

TEST_F(GrantCheckTest, RefusesAGpuThatThisProcessDoesNotSee) {
  Grant grant = SmallGrant();
  grant.granted.set_device("GPU-00000000-0000-0000-0000-000000000000");
  grant.granted.mutable_allocations(0)->set_cuda_ipc_handle(std::string(64, 'h'));
  const Status status = AttachTo(grant.Messages(), GoodHandles());
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.reason(), "DEVICE_NOT_FOUND");
  EXPECT_THAT(status.message(), HasSubstr("GPU-00000000-0000-0000-0000-000000000000"));
}

TEST_F(GrantCheckTest, AcceptsAModelWithoutTensors) {
  v1::Granted granted;
  granted.set_model("model");
  granted.set_device("host");
  std::vector<v1::AttachResponse> messages(2);
  *messages[0].mutable_granted() = granted;
  messages[1].mutable_ready();
  const Status status = AttachTo(messages, GoodHandles());
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace weightd::client
