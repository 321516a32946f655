#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weightd/client.h>

#include <array>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "client/cpp/cuda_mapping.h"
#include "common/cuda_driver.h"
#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/fake_cuda/fake_cuda_control.h"
#include "tests/unit/client/fake_grant.h"
#include "tests/unit/client/fake_service.h"

// Attaching to CUDA memory of another process, on the fake driver: what it would find wrong with
// our calls (a mapping that is left, a context on another GPU) it reports.

namespace weightd::client {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using weightd::testing::FakeCudaControl;

// The other process: gpu_exporter_main.cc.
class Exporter {
 public:
  Exporter() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    ours_ = UniqueFd(ends[0]);
    const UniqueFd theirs(ends[1]);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDOUT_FILENO);
    std::string program = WEIGHTD_GPU_EXPORTER;
    std::array<char*, 2> arguments = {program.data(), nullptr};
    EXPECT_EQ(::posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments.data(), environ),
              0);
    ::posix_spawn_file_actions_destroy(&actions);
  }
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;
  ~Exporter() { EXPECT_EQ(Finish(), 0); }

  // "UUID HANDLE"; false if the process ended instead.
  bool ReadLine() {
    std::string line;
    char byte = 0;
    while (::read(ours_.get(), &byte, 1) == 1 && byte != '\n') line.push_back(byte);
    std::istringstream(line) >> uuid_ >> handle_;
    return byte == '\n';
  }
  const std::string& uuid() const { return uuid_; }
  std::string handle() const { return absl::HexStringToBytes(handle_); }

  // Ends the process and returns its wait status; 0 is good.
  int Finish() {
    if (pid_ == 0) return 0;
    ours_.reset();
    int status = 0;
    EXPECT_EQ(::waitpid(std::exchange(pid_, 0), &status, 0) > 0, true);
    return status;
  }

 private:
  UniqueFd ours_;
  pid_t pid_ = 0;
  std::string uuid_;
  std::string handle_;
};

class GpuAttachTest : public ::testing::Test {
 protected:
  void SetUp() override {
    control_ = FakeCudaControl::Find();
    if (!control_.has_value()) GTEST_SKIP() << "libcuda.so.1 is not the fake";
    // A plan of failures holds from cuInit on.
    ASSERT_OK(CudaDriver::Load());
    ASSERT_TRUE(exporter_.ReadLine());
    Serve(exporter_.handle());
  }
  void TearDown() override {
    if (!control_.has_value()) return;
    EXPECT_THAT(control_->TakeReports(), IsEmpty());
  }

  void Serve(const std::string& handle) {
    weightd::testing::Grant grant = weightd::testing::SmallGrant();
    grant.granted.set_device(exporter_.uuid());
    grant.granted.clear_fd_ticket();
    grant.granted.mutable_allocations(0)->set_cuda_ipc_handle(handle);
    service_.SetAttach({.messages = grant.Messages(), .end = {}});
  }
  Result<Mapping> AttachHere() { return Attach("model", {.socket_dir = dir_.path()}); }

  std::optional<FakeCudaControl> control_;
  Exporter exporter_;
  weightd::testing::TempDir dir_;
  weightd::testing::FakeService service_{dir_.path()};
};

TEST_F(GpuAttachTest, OpensTheMemoryAndReadsItsBytes) {
  const Result<Mapping> mapping = AttachHere();
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  const Tensor* b = mapping->Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->device, exporter_.uuid());
  EXPECT_EQ(service_.tickets_shown(), 0);
  unsigned char byte = 0;
  EXPECT_OK(CopyFromGpu(exporter_.uuid(), b->data, &byte, 1));
  EXPECT_EQ(byte, 24);
}

// The exporter's driver reports memory that is freed while another process has it open.
TEST_F(GpuAttachTest, EndOfTheMappingClosesTheMemoryBeforeTheLeaseEnds) {
  {
    const Result<Mapping> mapping = AttachHere();
    ASSERT_TRUE(mapping.ok()) << mapping.status();
  }
  EXPECT_TRUE(service_.WaitForStreams(0));
  EXPECT_EQ(exporter_.Finish(), 0);
}

TEST_F(GpuAttachTest, TwoMappingsShareTheMemoryAndEndOnTheirOwn) {
  const Result<Mapping> first = AttachHere();
  ASSERT_TRUE(first.ok()) << first.status();
  {
    const Result<Mapping> second = AttachHere();
    ASSERT_TRUE(second.ok()) << second.status();
  }
  unsigned char byte = 0;
  EXPECT_OK(CopyFromGpu(exporter_.uuid(), first->Find("b")->data, &byte, 1));
  EXPECT_EQ(byte, 24);
}

TEST_F(GpuAttachTest, HandleThatTheDriverRefusesIsUnusable) {
  Serve(std::string(64, 'x'));
  const Status status = AttachHere().status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.reason(), "HANDLE_UNUSABLE");
  EXPECT_THAT(status.message(), HasSubstr("CUDA_ERROR_"));
  EXPECT_TRUE(service_.WaitForStreams(0));
}

TEST_F(GpuAttachTest, HandleOfAnotherLengthIsRefused) {
  Serve("short");
  const Status status = AttachHere().status();
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("5 bytes, expected 64"));
}

TEST_F(GpuAttachTest, RefusesAGpuThatThisProcessDoesNotSee) {
  weightd::testing::Grant grant = weightd::testing::SmallGrant();
  grant.granted.set_device("GPU-00000000-0000-0000-0000-000000000000");
  grant.granted.mutable_allocations(0)->set_cuda_ipc_handle(exporter_.handle());
  service_.SetAttach({.messages = grant.Messages(), .end = {}});
  const Status status = AttachHere().status();
  EXPECT_EQ(status.reason(), "DEVICE_NOT_FOUND");
  EXPECT_THAT(status.message(), HasSubstr("sees 2 GPUs and not that one"));
}

TEST_F(GpuAttachTest, FailedOpenLeavesNothingOpen) {
  control_->SetFailures("cuIpcOpenMemHandle:1:CUDA_ERROR_OUT_OF_MEMORY");
  EXPECT_EQ(AttachHere().status().reason(), "HANDLE_UNUSABLE");
  control_->SetFailures("");
  EXPECT_TRUE(AttachHere().ok());
}

}  // namespace
}  // namespace weightd::client
