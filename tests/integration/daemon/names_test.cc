// Names that are not UTF-8: of requests, and of files.

#include <grpcpp/impl/client_unary_call.h>
#include <weightd/client.h>

#include <string>
#include <vector>

#include "common/errors.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kBadName = "bad\xFF";

class NamesTest : public DaemonTest {
 protected:
  void SetUp() override {
    MakeModel("model", 1 << 20);
    ASSERT_NE(Start(), nullptr);
  }
  // What the daemon answers to these bytes, whatever the method.
  static grpc::Status Send(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                           const std::string& bytes) {
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const std::string path = "/weightd.v1.WeightCache/" + method;
    const grpc::internal::RpcMethod rpc(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC);
    return grpc::internal::BlockingUnaryCall(channel.get(), rpc, &context, request, &response);
  }
};

TEST_F(NamesTest, RequestsThatCannotBeParsedAreInvalidForEveryMethod) {
  const auto channel = Connect(socket_dir_);
  ASSERT_NE(channel, nullptr);
  const auto* service = v1::AttachRequest::descriptor()->file()->service(0);
  for (int i = 0; i < service->method_count(); ++i) {
    const std::string method = service->method(i)->name();
    const grpc::Status garbage = Send(channel, method, "\xFF\xFF\xFF");
    EXPECT_EQ(garbage.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_THAT(
        garbage.error_message(),
        AllOf(HasSubstr(service->method(i)->input_type()->full_name()), HasSubstr("UTF-8")));
    EXPECT_THAT(garbage.error_details(), HasSubstr("INVALID_REQUEST"));
  }
  for (const char* method : {"GetModel", "StageModel", "EvictModel", "PinModel", "Attach"}) {
    const grpc::Status status = Send(channel, method, std::string("\x0a\x04") + kBadName);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
  }
  // Protobuf complains by itself, before it is a request.
  EXPECT_TRUE(daemon_->WaitForLog("library library=Protobuf"));
  EXPECT_EQ(Send(channel, "NoSuchMethod", "").error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(Send(channel, "GetStatus", "").ok());
}

TEST_F(NamesTest, WeightctlSaysSoItself) {
  for (const char* verb : {"stage", "evict", "pin", "unpin", "verify", "describe", "tensors"}) {
    const CommandResult result = ctl_.Run({verb, kBadName});
    EXPECT_EQ(result.exit_code, kExitUsage) << verb << result;
    EXPECT_THAT(result.err,
                AllOf(HasSubstr("model `bad\\xff` is not UTF-8"), Not(HasSubstr("libprotobuf"))));
  }
  EXPECT_EQ(ctl_.Run({"stage", "model", "--device", kBadName}).exit_code, kExitUsage);
  EXPECT_EQ(ctl_.Run({"leases", kBadName}).exit_code, kExitUsage);
  const CommandResult read = ctl_.Run({"read", kBadName, "t"});
  EXPECT_EQ(read.exit_code, kExitUsage) << read;
  EXPECT_THAT(read.err, Not(HasSubstr("libprotobuf")));
}

TEST_F(NamesTest, ClientLibrarySaysSoItself) {
  const auto attached = client::Attach(kBadName, {.socket_dir = socket_dir_});
  ASSERT_FALSE(attached.ok());
  EXPECT_EQ(attached.status().code(), client::StatusCode::kInvalidArgument);
  EXPECT_EQ(attached.status().reason(), "INVALID_REQUEST");
}

TEST_F(NamesTest, FileWithSuchANameIsARowWithItsProblem) {
  MakeModel("other\xFE", 1 << 20);
  const nlohmann::json listed = ctl_.Json({"ls"});
  ASSERT_EQ(listed["models"].size(), 2) << listed;
  EXPECT_EQ(listed["models"][1]["name"], "other\\xfe");
  EXPECT_THAT(std::string(listed["models"][1]["problem"]),
              AllOf(HasSubstr("is not UTF-8"), HasSubstr("rename it")));
  EXPECT_THAT(ctl_.Run({"ls"}).out, HasSubstr("rename it"));
}

}  // namespace
}  // namespace weightd::testing
