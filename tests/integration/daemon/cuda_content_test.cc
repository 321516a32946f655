// The same bytes through the fake driver: another process opens the handle from the gRPC message.

#include <signal.h>
#include <unistd.h>

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/content_cases.h"
#include "tests/integration/daemon/cuda_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::Values;

struct Case {
  const char* name;
  ContentCase (*make)(const std::string& root);
  const char* engine;
};

class CudaContentTest : public CudaTest, public ::testing::WithParamInterface<Case> {};

TEST_P(CudaContentTest, ArrivesWholeAndLeavesNothing) {
  const ContentCase content = GetParam().make(root_);
  Start({"--cuda.enabled", "ON", "--storage.engine", GetParam().engine});
  Stage(content.model);
  const auto probe = Attach(content.model, content.files);
  EXPECT_THAT(probe->Attached(), HasSubstr("device=" + gpu_));
  EXPECT_THAT(probe->Compare(), StartsWith("same "));
  EXPECT_EQ(probe->Leave(), std::optional(0)) << probe->output();
  EXPECT_GT(UsedBytes(gpu_), 0);
  EXPECT_EQ(UsedBytes("host"), 0);
  StopCleanly();
  ExpectNoReport();
}

INSTANTIATE_TEST_SUITE_P(
    Checkpoints, CudaContentTest,
    Values(Case{"SingleFile", SingleFile, "AUTO"}, Case{"SingleFilePread", SingleFile, "PREAD"},
           Case{"Shards", Shards, "AUTO"}, Case{"HubCache", HubCache, "AUTO"},
           Case{"Misaligned", Misaligned, "AUTO"}, Case{"ManyTensors", ManyTensors, "AUTO"},
           Case{"AllDtypes", AllDtypes, "AUTO"}, Case{"NoTensors", NoTensors, "AUTO"},
           Case{"Tensors", Tensors, "AUTO"}, Case{"TensorsPread", Tensors, "PREAD"},
           Case{"TensorsAligned", TensorsAligned, "AUTO"},
           Case{"TensorsShards", TensorsShards, "AUTO"},
           Case{"TensorsWithoutIndex", TensorsWithoutIndex, "AUTO"},
           Case{"TensorsManySmall", TensorsManySmall, "AUTO"},
           Case{"TensorsDtypes", TensorsDtypes, "AUTO"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_F(CudaTest, WeightctlReadsATensorFromTheGpu) {
  const std::string path = MakeModel("model", 1 << 20);
  StartCuda();
  Stage("model");
  DaemonSetup with_driver;
  const std::string tensor = SmallTensorSpecs(8, 1 << 20)[3].name;
  ChildOptions options;
  options.argv = {WeightctlProgram(), "--socket-dir", socket_dir_, "read", "model", tensor};
  options.environment = environment_;
  ChildProcess read(options);
  EXPECT_EQ(read.WaitForExit(), std::optional(kExitOk)) << read.err();
  const std::string bytes = read.out();
  EXPECT_EQ(bytes.size(), (1 << 20) / 8);
  EXPECT_EQ(
      FindWrongByte(1, tensor, 0, {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}),
      -1);
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaTest, HostAndGpuHoldTheModelSideBySide) {
  const std::string path = MakeModel("model", 1 << 20);
  StartCuda();
  Stage("model");
  EXPECT_EQ(ctl_.Run({"stage", "model", "--wait", "--device", "host"}).exit_code, kExitOk);
  for (const std::string& device : {gpu_, std::string("host")}) {
    ProbeOptions options = Probe("model", {path});
    options.device = device;
    AttachProbe probe(options);
    EXPECT_THAT(probe.Attached(), HasSubstr("device=" + device));
    EXPECT_THAT(probe.Compare(), StartsWith("same "));
    EXPECT_EQ(probe.Leave(), std::optional(0)) << probe.output();
  }
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaTest, HandleHasSixtyFourBytesAndIsInNoLineOfTheLog) {
  MakeModel("model", 1 << 20);
  StartCuda();
  Stage("model");
  std::string handle;
  {
    const RawAttach attach(Connect(socket_dir_), "model");
    ASSERT_EQ(attach.granted().allocations_size(), 1);
    handle = attach.granted().allocations(0).cuda_ipc_handle();
    EXPECT_EQ(attach.granted().fd_ticket(), "");
  }
  EXPECT_EQ(handle.size(), 64);
  StopCleanly();
  ExpectNoReport();
  const std::string log = absl::AsciiStrToLower(daemon_->log());
  EXPECT_THAT(daemon_->log(), Not(HasSubstr(handle)));
  EXPECT_THAT(log, Not(HasSubstr(absl::BytesToHexString(handle.substr(0, 12)))));
  EXPECT_THAT(daemon_->log(), Not(HasSubstr(absl::Base64Escape(handle.substr(0, 12)))));
}

TEST_F(CudaTest, ClientInAnotherPidNamespaceIsRefusedWithTheReason) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make a PID namespace";
  MakeModel("model", 1 << 20);
  StartCuda();
  Stage("model");
  ProbeOptions options = Probe("model", {});
  options.new_pid_namespace = true;
  AttachProbe probe(options);
  EXPECT_THAT(probe.Attached(), StartsWith("refused FAILED_PRECONDITION/HANDLE_UNUSABLE"));
  EXPECT_THAT(probe.Attached(), HasSubstr("PID namespace"));
  EXPECT_EQ(LeaseCount(), 0);
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaTest, ClientThatDoesNotSeeTheGpuIsToldSo) {
  MakeModel("model", 1 << 20);
  StartCuda();
  Stage("model");
  ProbeOptions options = Probe("model", {});
  options.environment.push_back("CUDA_VISIBLE_DEVICES=");
  AttachProbe probe(options);
  EXPECT_THAT(probe.Attached(), StartsWith("refused NOT_FOUND/DEVICE_NOT_FOUND"));
  EXPECT_TRUE(WaitUntil([&] { return LeaseCount() == 0; }));
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaTest, KilledClientLeavesTheMemoryToTheOthers) {
  const std::string path = MakeModel("model", 4 << 20);
  StartCuda();
  Stage("model");
  const auto survivor = Attach("model", {path});
  const auto victim = Attach("model", {path});
  victim->Kill();
  EXPECT_EQ(EventsUntil("LEASE_ENDED").back()["pid"], victim->pid());
  EXPECT_THAT(survivor->Compare(), StartsWith("same "));
  EXPECT_EQ(survivor->Leave(), std::optional(0)) << survivor->output();
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaTest, KilledDaemonsClientLosesItsLeaseAndTheNextDaemonServes) {
  const std::string path = MakeModel("model", 4 << 20);
  StartCuda();
  Stage("model");
  const auto holder = Attach("model", {path});
  daemon_->Kill();
  EXPECT_TRUE(holder->WaitForNotice("notice lost")) << holder->output();
  EXPECT_FALSE(holder->LeaseHeld());
  StartCuda();
  EXPECT_EQ(UsedBytes(gpu_), 0);
  Stage("model");
  ExpectSameAsFiles("model", {path});
  EXPECT_EQ(holder->Leave(), std::optional(0)) << holder->output();
  StopCleanly();
}

}  // namespace
}  // namespace weightd::testing
