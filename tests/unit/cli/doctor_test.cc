#include "client/cli/doctor.h"

#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <set>

#include "client/cli/verbs.h"
#include "common/errors.h"
#include "common/socket_paths.h"
#include "gmock/gmock.h"
#include "tests/unit/cli/verbs_fixture.h"
#include "tests/unit/client/fake_grant.h"

namespace weightd::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::StorageStatus Storage(const char* engine, const char* reason = "", uint64_t pool = 0) {
  v1::StorageStatus storage;
  storage.set_engine(engine);
  storage.set_engine_reason(reason);
  storage.set_pool_bytes(pool);
  return storage;
}

TEST(DoctorUringTest, TellsSeccompAndSysctlApart) {
  const v1::StorageStatus pread = Storage("pread", "io_uring setup: operation not permitted");
  ProcessFacts filtered;
  filtered.seccomp_mode = 2;
  MachineFacts machine;
  machine.io_uring_errno = EPERM;
  machine.io_uring_disabled = 0;
  const Check seccomp = CheckUring(&pread, filtered, machine);
  EXPECT_EQ(seccomp.verdict, Verdict::kWarn);
  EXPECT_THAT(seccomp.found, HasSubstr("seccomp filter"));
  machine.io_uring_errno = ENOSYS;  // what podman's default profile answers
  EXPECT_THAT(CheckUring(&pread, filtered, machine).found, HasSubstr("seccomp filter"));
  EXPECT_THAT(CheckUring(&pread, ProcessFacts(), machine).found, HasSubstr("has no io_uring"));
  machine.io_uring_errno = EPERM;
  machine.io_uring_disabled = 2;
  const Check sysctl = CheckUring(&pread, filtered, machine);
  EXPECT_THAT(sysctl.found, HasSubstr("io_uring_disabled is 2"));
  EXPECT_THAT(sysctl.fix, HasSubstr("sysctl -w kernel.io_uring_disabled=0"));
}

TEST(DoctorUringTest, WorkingOrNotWantedIsGood) {
  const v1::StorageStatus uring = Storage("io_uring");
  EXPECT_EQ(CheckUring(&uring, {}, {}).verdict, Verdict::kPass);
  const v1::StorageStatus wanted = Storage("pread", "storage.engine is PREAD");
  MachineFacts refused;
  refused.io_uring_errno = EPERM;
  EXPECT_EQ(CheckUring(&wanted, {}, refused).verdict, Verdict::kPass);
  EXPECT_EQ(CheckUring(nullptr, {}, refused).verdict, Verdict::kWarn);
}

TEST(DoctorMemlockTest, MattersToRegisteredBuffersOnly) {
  ProcessFacts process;
  process.memlock_bytes = 8 << 20;
  const v1::StorageStatus large = Storage("io_uring", "", 100 << 20);
  EXPECT_EQ(CheckMemlock(&large, process).verdict, Verdict::kWarn);
  EXPECT_THAT(CheckMemlock(&large, process).fix, HasSubstr("LimitMEMLOCK=infinity"));
  const v1::StorageStatus pread = Storage("pread", "", 100 << 20);
  EXPECT_EQ(CheckMemlock(&pread, process).verdict, Verdict::kPass);
  process.may_lock_memory = true;
  EXPECT_EQ(CheckMemlock(&large, process).verdict, Verdict::kPass);
}

TEST(DoctorSeccompTest, StrictModeFails) {
  ProcessFacts process;
  EXPECT_THAT(CheckSeccomp(process).found, HasSubstr("no filter"));
  process.seccomp_mode = 2;
  EXPECT_EQ(CheckSeccomp(process).verdict, Verdict::kPass);
  process.seccomp_mode = 1;
  EXPECT_EQ(CheckSeccomp(process).verdict, Verdict::kFail);
}

TEST(DoctorHugePagesTest, ReservedOrTransparentOnesWillDo) {
  MachineFacts machine;
  machine.shmem_huge_pages = "never";
  EXPECT_EQ(CheckHugePages(machine).verdict, Verdict::kWarn);
  machine.shmem_huge_pages = "advise";
  EXPECT_EQ(CheckHugePages(machine).verdict, Verdict::kPass);
  machine.shmem_huge_pages = "never";
  machine.huge_pages_free = 1;
  EXPECT_EQ(CheckHugePages(machine).verdict, Verdict::kPass);
}

v1::RootFacts Root(uint64_t bytes, int64_t milliseconds) {
  v1::RootFacts root;
  root.set_root("/models");
  root.set_kind("local");
  root.set_file("llama.safetensors");
  root.set_direct_alignment(512);
  root.set_bytes_read(bytes);
  root.set_direct(true);
  root.set_engine("io_uring");
  root.mutable_read_time()->set_seconds(milliseconds / 1000);
  root.mutable_read_time()->set_nanos(static_cast<int32_t>(milliseconds % 1000 * 1'000'000));
  return root;
}

TEST(DoctorRootTest, SaysHowFastItIs) {
  const Check fast = CheckRoot(Root(256'000'000, 100), true);
  EXPECT_EQ(fast.verdict, Verdict::kPass);
  EXPECT_THAT(fast.found, HasSubstr("2.6 GB/s with io_uring, direct (256.0 MB of llama"));
  const Check slow = CheckRoot(Root(100'000'000, 2000), true);
  EXPECT_EQ(slow.verdict, Verdict::kWarn);
  EXPECT_THAT(slow.fix, HasSubstr("at this rate 16 GB take 320 s"));
  EXPECT_EQ(CheckRoot(Root(1000, 2000), true).verdict, Verdict::kPass) << "too little to judge";
}

TEST(DoctorRootTest, ProblemsHaveAWayOut) {
  v1::RootFacts root = Root(0, 0);
  root.set_direct_alignment(0);
  EXPECT_EQ(CheckRoot(root, true).verdict, Verdict::kWarn);
  EXPECT_THAT(CheckRoot(root, true).found, HasSubstr("O_DIRECT refused"));
  root.set_error("list /models: permission denied");
  EXPECT_EQ(CheckRoot(root, true).verdict, Verdict::kFail);
  root.clear_error();
  root.clear_file();
  EXPECT_THAT(CheckRoot(root, true).found, HasSubstr("without a checkpoint"));
}

TEST(DoctorPidNamespaceTest, MattersWithGpusOnly) {
  EXPECT_EQ(CheckPidNamespace(1, 1, true).verdict, Verdict::kPass);
  EXPECT_EQ(CheckPidNamespace(1, 2, false).verdict, Verdict::kPass);
  const Check other = CheckPidNamespace(1, 2, true);
  EXPECT_EQ(other.verdict, Verdict::kWarn);
  EXPECT_THAT(other.fix, HasSubstr("shareProcessNamespace"));
  EXPECT_EQ(CheckPidNamespace(0, 2, true).verdict, Verdict::kSkip);
}

std::set<Verdict> Verdicts(const std::vector<Check>& checks) {
  std::set<Verdict> verdicts;
  for (const Check& check : checks) verdicts.insert(check.verdict);
  return verdicts;
}

TEST(DoctorGpuTest, WithoutADriverThereIsNothingToMiss) {
  v1::DriverFacts driver;
  driver.set_error("load CUDA driver: libcuda.so.1");
  EXPECT_EQ(Verdicts(CheckGpus(driver, {})), std::set<Verdict>{Verdict::kSkip});
  // A node with GPUs, and a container that has none of them.
  driver.set_module_version("580.65.06");
  EXPECT_EQ(Verdicts(CheckGpus(driver, {})), std::set<Verdict>{Verdict::kFail});
  driver.set_disabled(true);
  EXPECT_EQ(Verdicts(CheckGpus(driver, {})), std::set<Verdict>{Verdict::kSkip});
}

TEST(DoctorGpuTest, NamesNodesDriverAndHandles) {
  v1::DriverFacts driver;
  driver.set_cuda_version(13000);
  driver.set_module_version("580.65.06");
  v1::DeviceNode& node = *driver.add_nodes();
  node.set_path("/dev/nvidia0");
  node.set_mode(0600);
  node.set_error_number(EACCES);
  v1::GpuFacts& gpu = *driver.add_gpus();
  gpu.set_id("GPU-1");
  gpu.add_handles("CUDA_IPC");
  gpu.add_handles("POSIX_FD");
  v1::GetStatusResponse status;
  v1::Device& device = *status.add_devices();
  device.set_id("GPU-1");
  device.set_share("CUDA_IPC");
  const std::vector<Check> checks = CheckGpus(driver, status);
  ASSERT_EQ(checks.size(), 3u);
  EXPECT_EQ(checks[0].verdict, Verdict::kWarn) << "the GPU works all the same";
  EXPECT_THAT(checks[0].found, HasSubstr("/dev/nvidia0 (mode 0600): Permission denied"));
  EXPECT_EQ(checks[1].found, "CUDA 13.0, module 580.65.06");
  EXPECT_THAT(checks[2].found, HasSubstr("shares by CUDA_IPC; handles of the driver: CUDA_IPC, "
                                         "POSIX_FD"));
  EXPECT_EQ(CheckGpus(driver, {})[2].verdict, Verdict::kWarn) << "weightd does not use it";
  driver.set_error("initialise CUDA driver: CUDA_ERROR_NO_DEVICE");
  driver.clear_gpus();
  EXPECT_EQ(CheckGpus(driver, status)[0].verdict, Verdict::kFail);
}

TEST(DoctorSocketTest, SaysWhoMayConnectAndWhoMayAttach) {
  v1::AccessFacts access;
  access.add_attach_gids(50);
  EXPECT_EQ(CheckAllowList(access, 50).verdict, Verdict::kPass);
  const Check refused = CheckAllowList(access, 60);
  EXPECT_EQ(refused.verdict, Verdict::kWarn);
  EXPECT_THAT(refused.fix, HasSubstr("--access.attach-gid 60"));
  const PathFacts open = {.path = "/run/w", .mode = 0755};
  EXPECT_EQ(CheckSocket(open, {.path = "/run/w/weightd.sock", .mode = 0660}, {}).verdict,
            Verdict::kWarn);
  EXPECT_EQ(CheckSocket(open, {.path = "/x", .error_number = ENOENT}, {}).verdict, Verdict::kFail);
  const PathFacts closed = {.path = "/run/w/weightd.sock", .error_number = EACCES};
  EXPECT_THAT(CheckSocket({.path = "/run/w", .mode = 0750, .gid = 60}, closed, {}).fix,
              HasSubstr("join gid 60"));
  EXPECT_THAT(CheckSocket({.path = "/run/w", .mode = 0750}, closed, {}).fix,
              Not(HasSubstr("join gid 0")));
}

class DoctorVerbTest : public VerbsTest {
 protected:
  DoctorVerbTest() {
    service_.get_status = [](const v1::GetStatusRequest&, v1::GetStatusResponse* status) {
      status->set_version(ClientVersion());
      status->mutable_storage()->set_engine("io_uring");
      return grpc::Status::OK;
    };
    service_.diagnose = [this](const v1::DiagnoseRequest& request, v1::DiagnoseResponse* facts) {
      skipped_reads_ = request.skip_reads();
      facts->mutable_driver()->set_disabled(true);
      if (operates_) facts->mutable_access();
      facts->mutable_process()->set_may_lock_memory(true);
      *facts->add_roots() = root_;
      return grpc::Status::OK;
    };
  }
  v1::RootFacts root_ = Root(256'000'000, 100);
  bool skipped_reads_ = false;
  bool operates_ = true;
};

TEST_F(DoctorVerbTest, PassesWhereNothingFails) {
  const Outcome outcome = Run({"doctor"});
  EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("pass  io_uring"), HasSubstr("pass  root /models")));
  EXPECT_THAT(outcome.out, Not(HasSubstr("\x1b"))) << "no colour without a terminal";
  EXPECT_FALSE(skipped_reads_);
  EXPECT_EQ(Run({"doctor", "--no-reads"}).code, 0);
  EXPECT_TRUE(skipped_reads_);
}

TEST_F(DoctorVerbTest, AFailureIsAnExitCodeAndHasItsFix) {
  root_.set_error("list /models: input/output error");
  const Outcome outcome = Run({"doctor", "-o", "json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("1 of "));
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["failed"], 1);
  for (const auto& check : json["checks"]) {
    if (check["result"] != "fail") continue;
    EXPECT_EQ(check["check"], "root /models");
    EXPECT_NE(check["fix"], "");
  }
}

TEST_F(DoctorVerbTest, ACallerWhoMayNotOperateLearnsWhatIsKeptFromHim) {
  operates_ = false;
  root_ = Root(0, 0);
  const Outcome outcome = Run({"doctor"});
  EXPECT_EQ(outcome.code, 0) << outcome.out;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("skip  allow-lists"), HasSubstr("skip  reading speed"),
                                 HasSubstr("pass  root /models"), HasSubstr("pass  io_uring")));
  EXPECT_THAT(Run({"doctor", "--no-reads"}).out, Not(HasSubstr("reading speed")));
}

TEST_F(DoctorVerbTest, TheHandleSocketIsAsked) {
  EXPECT_THAT(Run({"doctor"}).out, HasSubstr("pass  handle socket"));
  weightd::testing::HandleScript handles;
  handles.who_am_i = ErrorWithReason(absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
                                     "uid 7 may not attach");
  service_.SetHandles(std::move(handles));
  const Outcome refused = Run({"doctor"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.out, AllOf(HasSubstr("fail  handle socket"), HasSubstr("uid 7 may not")));
  ASSERT_EQ(::unlink(HandleSocketPath(dir_.path()).c_str()), 0);
  EXPECT_THAT(Run({"doctor"}).out,
              AllOf(HasSubstr("fail  handle socket"), HasSubstr("handles.sock: No such file"),
                    HasSubstr("the whole directory")));
}

// By a daemon of before, or since its lists changed.
TEST_F(DoctorVerbTest, ACallerWhoIsToldNothingLearnsWhatHeCan) {
  service_.diagnose = [](const v1::DiagnoseRequest&, v1::DiagnoseResponse*) {
    return weightd::testing::RpcError(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_DENIED",
                                      "uid 7 may not operate");
  };
  const Outcome outcome = Run({"doctor"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("warn  daemon's side"), HasSubstr("seccomp")));
}

TEST_F(DoctorVerbTest, ADeadDaemonIsSaidAndTheRestIsChecked) {
  service_.Kill();
  const Outcome outcome = Run({"doctor"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("fail  daemon"), HasSubstr("does not answer"),
                                 HasSubstr("huge pages"), HasSubstr("memlock")));
}

}  // namespace
}  // namespace weightd::cli
