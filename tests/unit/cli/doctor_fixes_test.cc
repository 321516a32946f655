// Whatever `weightctl doctor` warns of or fails: it says what to do.

#include <cerrno>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/doctor.h"
#include "common/warning.h"
#include "gmock/gmock.h"

namespace weightd::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class DoctorFixesTest : public ::testing::Test {
 protected:
  void Take(const Check& check) {
    // "root /models" is a root.
    const std::string kind = check.name.substr(0, check.name.find(" /"));
    if (check.verdict == Verdict::kWarn) seen_.insert(absl::StrCat("warn ", kind));
    if (check.verdict == Verdict::kFail) seen_.insert(absl::StrCat("fail ", kind));
    EXPECT_NE(check.name, "");
    EXPECT_NE(check.found, "") << check.name;
    const bool mends = check.verdict == Verdict::kWarn || check.verdict == Verdict::kFail;
    EXPECT_EQ(mends, !check.fix.empty()) << check.name << ": " << check.found;
  }
  void Take(const std::vector<Check>& checks) {
    for (const Check& check : checks) Take(check);
  }
  // What was warned of and what failed: no branch was forgotten.
  std::set<std::string> seen_;
};

std::vector<absl::Status> Errors() {
  std::vector<absl::Status> errors;
  for (int code = 1; code <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++code) {
    for (const char* message : {"", "something", "connect to /x: nobody listens"}) {
      errors.emplace_back(static_cast<absl::StatusCode>(code), message);
    }
  }
  return errors;
}

constexpr int kErrnos[] = {0, EPERM, ENOSYS, EACCES, ENOMEM, EMFILE, ENFILE, EINVAL, EIO, ENOENT};

TEST_F(DoctorFixesTest, Uring) {
  std::vector<v1::StorageStatus> storages;
  for (const auto& [engine, reason] : {std::pair("io_uring", ""),
                                       {"pread", ""},
                                       {"pread", "io_uring setup: no"},
                                       {"pread", "storage.engine is PREAD"}}) {
    v1::StorageStatus& storage = storages.emplace_back();
    storage.set_engine(engine);
    storage.set_engine_reason(reason);
  }
  for (const uint32_t seccomp : {0, 1, 2}) {
    for (const int error : kErrnos) {
      for (const auto disabled : std::initializer_list<std::optional<uint32_t>>{{}, 0, 1, 2}) {
        ProcessFacts process;
        process.seccomp_mode = seccomp;
        MachineFacts machine;
        machine.io_uring_disabled = disabled;
        machine.io_uring_errno = error;
        Take(CheckUring(nullptr, process, machine));
        for (const auto& storage : storages) Take(CheckUring(&storage, process, machine));
        Take(CheckSeccomp(process));
      }
    }
  }
  EXPECT_THAT(seen_, UnorderedElementsAre("warn io_uring", "fail seccomp"));
}

TEST_F(DoctorFixesTest, Memory) {
  v1::StorageStatus storage;
  storage.set_engine("io_uring");
  storage.set_pool_bytes(100 << 20);
  for (const uint64_t limit : {uint64_t{0}, uint64_t{64} << 20, UINT64_MAX}) {
    for (const bool may_lock : {false, true}) {
      ProcessFacts process;
      process.memlock_bytes = limit;
      process.may_lock_memory = may_lock;
      Take(CheckMemlock(nullptr, process));
      Take(CheckMemlock(&storage, process));
    }
  }
  for (const char* word : {"", "never", "deny", "advise", "always"}) {
    for (const uint64_t free : {0, 1}) {
      MachineFacts machine;
      machine.huge_pages_free = free;
      machine.shmem_huge_pages = word;
      Take(CheckHugePages(machine));
    }
  }
  v1::GetStatusResponse status;
  Take(CheckHostMemory(status));
  status.add_devices()->set_id("host");
  Take(CheckHostMemory(status));
  EXPECT_THAT(seen_, UnorderedElementsAre("warn memlock", "warn huge pages"));
}

TEST_F(DoctorFixesTest, Roots) {
  for (const char* error : {"", "list /models: permission denied"}) {
    for (const char* file : {"", "llama.safetensors"}) {
      for (const uint32_t alignment : {0, 512}) {
        for (const uint64_t bytes : {uint64_t{0}, uint64_t{1000}, uint64_t{64} << 20}) {
          v1::RootFacts root;
          root.set_root("/models");
          root.set_error(error);
          root.set_file(file);
          root.set_direct_alignment(alignment);
          root.set_bytes_read(bytes);
          root.mutable_read_time()->set_seconds(2);
          for (const bool read : {false, true}) Take(CheckRoot(root, read));
        }
      }
    }
  }
  EXPECT_THAT(seen_, UnorderedElementsAre("warn root", "fail root"));
}

TEST_F(DoctorFixesTest, Gpus) {
  v1::GetStatusResponse status;
  status.add_devices()->set_id("GPU-1");
  for (int bits = 0; bits < 64; ++bits) {
    const auto has = [bits](int bit) { return (bits >> bit & 1) != 0; };
    v1::DriverFacts driver;
    if (has(0)) driver.set_error("load CUDA driver: libcuda.so.1");
    if (has(1)) driver.set_module_version("580.65.06");
    driver.set_disabled(has(2));
    for (const bool usable : {false, true}) {
      if (!has(usable ? 3 : 4)) continue;
      v1::DeviceNode& node = *driver.add_nodes();
      node.set_path("/dev/nvidia0");
      node.set_usable(usable);
      node.set_error_number(usable ? 0 : EACCES);
    }
    if (has(5)) driver.add_gpus()->set_id("GPU-1");
    Take(CheckGpus(driver, status));
    Take(CheckGpus(driver, {}));
  }
  for (const uint64_t daemon : {0, 1, 2}) {
    for (const uint64_t own : {0, 1}) {
      for (const bool uses_gpus : {false, true}) {
        Take(CheckPidNamespace(daemon, own, uses_gpus));
      }
    }
  }
  EXPECT_THAT(seen_, UnorderedElementsAre("warn device nodes", "fail device nodes", "fail driver",
                                          "warn GPU GPU-1", "warn PID namespace"));
}

TEST_F(DoctorFixesTest, Access) {
  v1::AccessFacts access;
  access.add_attach_gids(1);
  for (const uint32_t gid : {0, 1, 2}) Take(CheckAllowList(access, gid));
  const ProcessFacts own = {.uid = 7, .gid = 7, .supplementary_gids = {8}};
  for (const int error : kErrnos) {
    const PathFacts socket = {.path = "/run/w/x.sock", .error_number = error, .mode = 0660};
    for (const uint32_t mode : {0750, 0755, 01777}) {
      Take(CheckSocket({.path = "/run/w", .mode = mode}, socket, own));
    }
    const absl::Status answers;
    Take(CheckHandleSocket(socket, nullptr, own));
    Take(CheckHandleSocket(socket, &answers, own));
    for (const absl::Status& status : Errors()) {
      Take(CheckHandleSocket(socket, &status, own));
      Take(CheckUnreachable(status, {.path = "/run/w", .error_number = error}, own));
    }
  }
  for (const absl::Status& status : Errors()) Take(CheckNotAsked(status, own));
  for (const bool reads : {false, true}) Take(CheckWithheld(reads, own));
  EXPECT_THAT(seen_, UnorderedElementsAre("warn allow-lists", "warn socket", "fail socket",
                                          "fail handle socket", "fail daemon", "warn daemon's side",
                                          "fail daemon's side"));
}

TEST_F(DoctorFixesTest, Daemon) {
  for (const bool draining : {false, true}) {
    for (const char* version : {"1.0", "2.0"}) {
      v1::GetStatusResponse status;
      status.set_draining(draining);
      status.set_version(version);
      for (int state = v1::PreloadState_MIN; state <= v1::PreloadState_MAX; ++state) {
        v1::Preload& preload = *status.add_preloads();
        preload.set_model("/m");
        preload.set_state(static_cast<v1::PreloadState>(state));
      }
      status.add_warnings()->set_text("of a daemon to come");
      status.add_volumes()->set_root("/answers");
      v1::VolumeStatus& hangs = *status.add_volumes();
      hangs.set_root("/hangs");
      hangs.set_reads_stuck(8);
      Take(CheckDaemon(status, "1.0"));
    }
  }
  EXPECT_THAT(seen_, UnorderedElementsAre("warn daemon", "warn preload", "fail preload",
                                          "warn degraded", "fail reads of"));
}

// Memory that is in nobody's books is said, and no fault: other programs have some too.
TEST(DoctorHostMemoryTest, ComparesWhatIsBookedWithTheMachines) {
  v1::GetStatusResponse status;
  v1::Device& host = *status.add_devices();
  host.set_id("host");
  host.set_pages("small");
  host.set_used_bytes(uint64_t{1} << 30);
  EXPECT_THAT(CheckHostMemory(status, uint64_t{1} << 30).found, Not(HasSubstr("books")));
  const Check more = CheckHostMemory(status, uint64_t{3} << 30);
  EXPECT_EQ(more.verdict, Verdict::kPass);
  EXPECT_THAT(more.found, HasSubstr("2.1 GB are not in weightd's books"));
  host.set_pages("hugetlb");  // is not counted as shared memory
  EXPECT_THAT(CheckHostMemory(status, uint64_t{3} << 30).found, Not(HasSubstr("books")));
}

std::string FixOf(absl::string_view word) {
  v1::GetStatusResponse status;
  v1::Warning& warning = *status.add_warnings();
  warning.set_reason(std::string(word));
  warning.set_text("something of this daemon");
  const std::vector<Check> checks = CheckDaemon(status, "");
  return checks.back().name == "degraded" ? checks.back().fix : "";
}

TEST(DoctorDegradedTest, FixesAreThoseOfTheWarningsWord) {
  const std::pair<WarningReason, const char*> fixes[] = {
      {WarningReason::kNoGpu, "cuda.enabled"},
      {WarningReason::kBuiltWithoutCuda, "cuda.h"},
      {WarningReason::kGpuNotUsed, "nvidia-smi"},
      {WarningReason::kStateLost, "weightctl pin"},
      {WarningReason::kStateNotSaved, "--state-file"},
      {WarningReason::kSocketDirOpen, "--socket-dir"},
      {WarningReason::kSmallPages, "shmem_enabled"},
      {WarningReason::kHugePagesRefused, "vm.nr_hugepages=N"},
      {WarningReason::kHugePagesTooFew, "vm.nr_hugepages=N"},
      {WarningReason::kIoUringBuffers, "LimitMEMLOCK"},
      {WarningReason::kIoUringFiles, "LimitNOFILE"},
      {WarningReason::kIoUringFeature, "newer Linux"},
      {WarningReason::kFewThreads, "TasksMax"},
      {WarningReason::kMemoryLost, "start weightd again"},
      {WarningReason::kMemoryStaysPinned, "start weightd again"},
  };
  for (const auto& [reason, fix] : fixes) {
    EXPECT_THAT(FixOf(WarningWord(reason)), HasSubstr(fix)) << WarningWord(reason);
  }
}

TEST(DoctorDegradedTest, EveryWarningHasAFixOrACheckOfItsOwn) {
  for (const WarningReason reason : AllWarningReasons()) {
    EXPECT_EQ(FixOf(WarningWord(reason)).empty(), reason == WarningReason::kNoIoUring)
        << WarningWord(reason);
  }
  EXPECT_THAT(FixOf("A_NEWER_DAEMONS_WORD"), HasSubstr("mend what it names"));
}

}  // namespace
}  // namespace weightd::cli
