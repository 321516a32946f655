#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/doctor.h"
#include "client/cli/preloads.h"
#include "client/cli/text.h"
#include "common/format_units.h"
#include "common/warning.h"

namespace weightd::cli {
namespace {

const v1::Device* FindDevice(const v1::GetStatusResponse& status, const std::string& id) {
  for (const v1::Device& device : status.devices()) {
    if (device.id() == id) return &device;
  }
  return nullptr;
}

// Shared memory outside of the books that is not worth a word.
constexpr uint64_t kSharedBytesUnsaid = uint64_t{256} << 20;

std::string CudaVersion(uint32_t version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

Check CheckNodes(const v1::DriverFacts& driver) {
  Check check{.name = "device nodes", .found = {}};
  std::vector<std::string> usable;
  std::vector<std::string> refused;
  for (const v1::DeviceNode& node : driver.nodes()) {
    if (node.usable()) {
      usable.push_back(node.path());
    } else {
      refused.push_back(absl::StrFormat("%s (mode %04o): %s", node.path(), node.mode(),
                                        std::strerror(static_cast<int>(node.error_number()))));
    }
  }
  if (!refused.empty()) {
    // Not every node is needed: that of the display is not.
    const bool works = driver.error().empty() && !driver.gpus().empty();
    check.verdict = works ? Verdict::kWarn : Verdict::kFail;
    check.found = absl::StrJoin(refused, ", ");
    check.fix =
        "give the container its GPUs (a device plugin, a DRA claim, the nvidia runtime), or "
        "the daemon's user the nodes' group";
  } else if (!usable.empty()) {
    check.found = absl::StrJoin(usable, ", ");
  } else if (!driver.module_version().empty() || driver.error().empty()) {
    check.verdict = driver.gpus().empty() ? Verdict::kFail : Verdict::kPass;
    check.found = "no /dev/nvidia*";
    if (check.verdict == Verdict::kFail) {
      check.fix =
          "give the container its GPUs: a device plugin, a DRA claim, or the nvidia runtime";
    }
  } else {
    check.verdict = Verdict::kSkip;
    check.found = "no /dev/nvidia*: models are kept in host memory";
  }
  return check;
}

Check CheckDriver(const v1::DriverFacts& driver) {
  Check check{.name = "driver", .found = {}};
  const std::string module =
      driver.module_version().empty() ? "" : absl::StrCat("module ", driver.module_version());
  if (driver.error().empty()) {
    check.found = absl::StrCat("CUDA ", CudaVersion(driver.cuda_version()),
                               module.empty() ? "" : ", ", module);
    return check;
  }
  check.found = absl::StrCat(driver.error(), module.empty() ? "" : "; ", module);
  // Without nodes and module there is no GPU to miss.
  if (driver.nodes().empty() && module.empty()) {
    check.verdict = Verdict::kSkip;
    return check;
  }
  check.verdict = Verdict::kFail;
  check.fix = "mount the driver's libraries (the nvidia runtime does), of the module's version";
  return check;
}

Check CheckGpu(const v1::GpuFacts& gpu, const v1::GetStatusResponse& status) {
  const std::string handles = gpu.handles().empty() ? "none" : absl::StrJoin(gpu.handles(), ", ");
  Check check{.name = absl::StrCat("GPU ", gpu.id()), .found = {}};
  const v1::Device* device = FindDevice(status, gpu.id());
  if (device == nullptr) {
    check.verdict = Verdict::kWarn;
    check.found = absl::StrCat(gpu.name(), " is not used; handles of the driver: ", handles);
    check.fix = "`weightctl status` has the daemon's reason as a warning";
    return check;
  }
  check.found = absl::StrCat(gpu.name(), " shares by ", device->share(),
                             "; handles of the driver: ", handles);
  return check;
}

// Of one that is not resident and did not fail.
std::string PreloadFix(const v1::Preload& preload) {
  if (preload.state() == v1::PRELOAD_QUEUED || preload.state() == v1::PRELOAD_STAGING) {
    return "wait: `weightctl top` shows how far it is";
  }
  return absl::StrCat("`weightctl stage ", preload.model(), "`, and `weightctl pin ",
                      preload.model(), "` if it had to make room for others");
}

// What mends it; a word that this weightctl does not know has none.
std::string WarningFix(std::optional<WarningReason> reason) {
  constexpr const char* kOthers = "mend what it names, and start weightd again";
  if (!reason.has_value()) return kOthers;
  switch (*reason) {
    case WarningReason::kNoGpu:
      return "see the checks of device nodes and driver; --cuda.enabled OFF where no GPU is wanted";
    case WarningReason::kBuiltWithoutCuda:
      return "install a weightd that was built with cuda.h (deploy/quickstart.sh gets it); "
             "--cuda.enabled OFF where no GPU is wanted";
    case WarningReason::kGpuNotUsed:
      return "mend what it names (`nvidia-smi` shows the GPU), and start weightd again";
    case WarningReason::kStateLost:
      return "`weightctl pin MODEL` what is to stay";
    case WarningReason::kStateNotSaved:
      return "give weightd a directory for its state file that it can write, or another one: "
             "--state-file FILE; it tries again by itself every few seconds. Where another weightd "
             "keeps the file: stop that one, and start this one again";
    case WarningReason::kSocketDirOpen:
      return "a directory that only weightd uses: --socket-dir DIR";
    case WarningReason::kSmallPages:
      return kHugePagesFix;
    case WarningReason::kHugePagesRefused:
    case WarningReason::kHugePagesTooFew:
      return "on the node: sysctl -w vm.nr_hugepages=N, enough for the budget of host memory; a "
             "container has its own limit of them (hugepages-2Mi)";
    case WarningReason::kIoUringBuffers:
      return kLockedMemoryFix;
    case WarningReason::kIoUringFiles:
      return kOpenFilesFix;
    case WarningReason::kIoUringFeature:
      return "a newer Linux on the node; reads work without it";
    case WarningReason::kFewThreads:
      return "raise the limit of threads: TasksMax= of systemd, --pids-limit of a container";
    case WarningReason::kMemoryLost:
    case WarningReason::kMemoryStaysPinned:
      return "start weightd again, when its clients can do without it";
    case WarningReason::kNoIoUring:
    case WarningReason::kInternal:
      return kOthers;
  }
  return kOthers;
}

}  // namespace

ProcessFacts FromProto(const v1::ProcessFacts& facts) {
  return {
      .pid_namespace = facts.pid_namespace(),
      .uid = facts.uid(),
      .gid = facts.gid(),
      .supplementary_gids = {facts.supplementary_gids().begin(), facts.supplementary_gids().end()},
      .seccomp_mode = facts.seccomp_mode(),
      .no_new_privileges = facts.no_new_privileges(),
      .memlock_bytes = facts.memlock_bytes(),
      .may_lock_memory = facts.may_lock_memory(),
      .open_files_max = facts.open_files_max()};
}

MachineFacts FromProto(const v1::MachineFacts& facts) {
  MachineFacts machine;
  machine.kernel = facts.kernel();
  if (facts.has_io_uring_disabled()) machine.io_uring_disabled = facts.io_uring_disabled();
  machine.io_uring_errno = static_cast<int>(facts.io_uring_errno());
  machine.huge_page_bytes = facts.huge_page_bytes();
  machine.huge_pages = facts.huge_pages();
  machine.huge_pages_free = facts.huge_pages_free();
  machine.transparent_huge_pages = facts.transparent_huge_pages();
  machine.shmem_huge_pages = facts.shmem_huge_pages();
  return machine;
}

std::vector<Check> CheckGpus(const v1::DriverFacts& driver, const v1::GetStatusResponse& status) {
  if (driver.disabled()) {
    return {{.name = "driver", .verdict = Verdict::kSkip, .found = "cuda.enabled is OFF"}};
  }
  std::vector<Check> checks = {CheckNodes(driver), CheckDriver(driver)};
  for (const v1::GpuFacts& gpu : driver.gpus()) checks.push_back(CheckGpu(gpu, status));
  return checks;
}

Check CheckHostMemory(const v1::GetStatusResponse& status, std::optional<uint64_t> shared_bytes) {
  const v1::Device* host = FindDevice(status, "host");
  if (host == nullptr) return {.name = "host memory", .verdict = Verdict::kSkip, .found = "none"};
  Check check{.name = "host memory",
              .found = absl::StrCat("shares by ", host->share(), ", in ", host->pages(), " pages; ",
                                    FormatBytes(host->used_bytes()), " of the budget of ",
                                    FormatBytes(host->budget_bytes()), " used")};
  // Reserved huge pages are not counted as shared memory.
  if (!shared_bytes.has_value() || host->pages() == "hugetlb") return check;
  if (*shared_bytes < host->used_bytes() + kSharedBytesUnsaid) return check;
  absl::StrAppend(&check.found, "; the machine has ", FormatBytes(*shared_bytes),
                  " of shared memory, so ", FormatBytes(*shared_bytes - host->used_bytes()),
                  " are not in weightd's books: what clients still map of evicted models, or other "
                  "programs' (`grep -l memfd:weightd /proc/*/maps` names the former)");
  return check;
}

std::vector<Check> CheckDaemon(const v1::GetStatusResponse& status, const std::string& version) {
  std::vector<Check> checks;
  Check& daemon = checks.emplace_back(Check{.name = "daemon", .found = {}});
  daemon.found = absl::StrCat("weightd ", status.version(), ", pid ", status.pid(),
                              status.draining() ? ", draining" : ", serving");
  if (status.draining()) {
    daemon.verdict = Verdict::kWarn;
    daemon.fix = "it ends: start it again if it should not have";
  } else if (status.version() != version) {
    daemon.verdict = Verdict::kWarn;
    absl::StrAppend(&daemon.found, "; weightctl is ", version);
    daemon.fix = "install both from one build";
  }
  for (const v1::VolumeStatus& volume : status.volumes()) {
    if (!IsStuck(volume)) continue;
    checks.push_back({.name = absl::StrCat("reads of ", volume.root()),
                      .verdict = Verdict::kFail,
                      .found = StuckText(volume),
                      .fix = kStuckFix});
  }
  for (const v1::Preload& preload : status.preloads()) {
    Check& check = checks.emplace_back(
        Check{.name = absl::StrCat("preload ", preload.model()), .found = PreloadText(preload)});
    if (preload.state() == v1::PRELOAD_FAILED) {
      check.verdict = Verdict::kFail;
      check.fix = absl::StrCat("mend the cause, then `weightctl stage ", preload.model(), "`");
    } else if (preload.state() != v1::PRELOAD_RESIDENT) {
      check.verdict = Verdict::kWarn;
      check.fix = PreloadFix(preload);
    }
  }
  for (const v1::Warning& warning : status.warnings()) {
    const std::optional<WarningReason> reason = WarningReasonFromWord(warning.reason());
    if (reason == WarningReason::kNoIoUring) continue;  // has its own check
    checks.push_back({.name = "degraded",
                      .verdict = Verdict::kWarn,
                      .found = warning.text(),
                      .fix = WarningFix(reason)});
  }
  return checks;
}

}  // namespace weightd::cli
