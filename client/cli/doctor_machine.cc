#include <google/protobuf/util/time_util.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/doctor.h"
#include "client/cli/text.h"
#include "common/format_units.h"

namespace weightd::cli {
namespace {

using google::protobuf::util::TimeUtil;

constexpr uint32_t kSeccompFilter = 2;
constexpr uint32_t kSeccompStrict = 1;
// A rate below which models take so long that somebody should know.
constexpr double kSlowBytesPerSecond = 200e6;
// Less says nothing of the rate.
constexpr uint64_t kMeasuredBytesMin = uint64_t{16} << 20;
// What a ring takes itself, before Linux 5.12.
constexpr uint64_t kRingBytes = uint64_t{64} << 10;

std::string ErrorText(int error) { return std::strerror(error); }

Check UringRefused(const ProcessFacts& process, const MachineFacts& machine,
                   const std::string& reason) {
  Check check{.name = "io_uring", .verdict = Verdict::kWarn, .found = {}};
  const int error = machine.io_uring_errno;
  const uint32_t disabled = machine.io_uring_disabled.value_or(0);
  const bool filtered = process.seccomp_mode == kSeccompFilter;
  if (error == EPERM && disabled != 0) {
    check.found = absl::StrCat("pread is used: sysctl kernel.io_uring_disabled is ", disabled);
    check.fix = "on the node: sysctl -w kernel.io_uring_disabled=0";
  } else if (filtered && (error == EPERM || error == ENOSYS || error == EACCES)) {
    check.found = absl::StrCat("pread is used: the seccomp filter refuses io_uring_setup (",
                               ErrorText(error), ")");
    check.fix =
        "run weightd with deploy/seccomp/weightd.json, or another seccomp profile that allows "
        "io_uring_setup, io_uring_enter and io_uring_register";
  } else if (error == ENOSYS) {
    check.found = absl::StrCat("pread is used: Linux ", machine.kernel, " has no io_uring");
    check.fix = "Linux 5.11 or newer, built with CONFIG_IO_URING";
  } else if (error == ENOMEM) {
    check.found = "pread is used: no memory may be locked for a ring";
    check.fix = "raise RLIMIT_MEMLOCK: LimitMEMLOCK= of systemd, --ulimit memlock= of a container";
  } else if (error != 0) {
    check.found = absl::StrCat("pread is used: io_uring_setup: ", ErrorText(error));
    check.fix =
        error == EMFILE || error == ENFILE
            ? kOpenFilesFix
            : "io_uring_setup(2) explains the error; --storage.engine PREAD if it may stay so";
  } else {
    check.found = absl::StrCat("pread is used: ", reason);
    check.fix =
        "io_uring_setup works now, on Linux 5.11 or newer as it must be: start weightd again; "
        "--storage.engine PREAD if it may stay so";
  }
  return check;
}

}  // namespace

Check CheckUring(const v1::StorageStatus* storage, const ProcessFacts& process,
                 const MachineFacts& machine) {
  if (storage == nullptr) {
    if (machine.io_uring_errno != 0) return UringRefused(process, machine, "");
    return {.name = "io_uring", .found = "works for this process; the daemon's may differ"};
  }
  if (storage->engine() == "io_uring") {
    return {.name = "io_uring", .found = "reads go through it"};
  }
  if (absl::StartsWith(storage->engine_reason(), "storage.engine is")) {
    return {.name = "io_uring",
            .found = absl::StrCat("pread is used, as configured: ", storage->engine_reason())};
  }
  return UringRefused(process, machine, storage->engine_reason());
}

Check CheckSeccomp(const ProcessFacts& process) {
  if (process.seccomp_mode == kSeccompStrict) {
    return {.name = "seccomp",
            .verdict = Verdict::kFail,
            .found = "strict mode: nothing but read and write is allowed",
            .fix = "run it with a filter instead, or with none"};
  }
  std::string found = process.seccomp_mode == kSeccompFilter ? "a filter is in place" : "no filter";
  if (process.no_new_privileges) absl::StrAppend(&found, ", no new privileges");
  return {.name = "seccomp", .found = std::move(found)};
}

Check CheckMemlock(const v1::StorageStatus* storage, const ProcessFacts& process) {
  Check check{.name = "memlock", .found = {}};
  if (process.may_lock_memory || process.memlock_bytes == UINT64_MAX) {
    check.found = process.may_lock_memory ? "no limit: CAP_IPC_LOCK" : "no limit";
    return check;
  }
  check.found = absl::StrCat("limit ", FormatBytes(process.memlock_bytes));
  const bool rings = storage != nullptr && storage->engine() == "io_uring";
  const uint64_t wanted = rings ? storage->pool_bytes() + kRingBytes : 0;
  if (process.memlock_bytes >= wanted) return check;
  check.verdict = Verdict::kWarn;
  absl::StrAppend(&check.found, ", and rings with registered buffers take ", FormatBytes(wanted));
  check.fix = absl::StrCat(kLockedMemoryFix, "; without it reads cost more CPU time");
  return check;
}

Check CheckHugePages(const MachineFacts& machine) {
  Check check{.name = "huge pages", .found = {}};
  const std::string reserved =
      absl::StrCat(machine.huge_pages_free, " of ", machine.huge_pages, " reserved pages of ",
                   FormatBytes(machine.huge_page_bytes), " free");
  const std::string transparent =
      machine.shmem_huge_pages.empty()
          ? "no transparent ones"
          : absl::StrCat("transparent ones for shared memory: ", machine.shmem_huge_pages);
  check.found = absl::StrCat(reserved, "; ", transparent);
  const bool has_transparent = !machine.shmem_huge_pages.empty() &&
                               machine.shmem_huge_pages != "never" &&
                               machine.shmem_huge_pages != "deny";
  if (machine.huge_pages_free > 0 || has_transparent) return check;
  check.verdict = Verdict::kWarn;
  check.fix = absl::StrCat(kHugePagesFix, "; small pages cost time at each stage and attach");
  return check;
}

Check CheckRoot(const v1::RootFacts& root, bool read) {
  Check check{.name = absl::StrCat("root ", root.root()), .found = {}};
  if (!root.error().empty()) {
    check.verdict = Verdict::kFail;
    check.found = root.error();
    if (root.reason() == "VOLUME_STUCK") {
      check.found = absl::StrCat("stuck: ", root.error());
      check.fix =
          "see that the volume's server and the network to it answer (ls the directory), mount it "
          "anew if not; models of other roots are served meanwhile, and this one is used again as "
          "soon as it answers";
      return check;
    }
    check.fix =
        "let the daemon's user read the directory and its files, and see that the volume "
        "is mounted and answers";
    return check;
  }
  if (root.file().empty()) {
    check.verdict = Verdict::kWarn;
    check.found = absl::StrCat(root.kind(), " volume without a checkpoint");
    check.fix = "put models there, or name another directory with --root";
    return check;
  }
  check.found = absl::StrCat(root.kind(), " volume, O_DIRECT ",
                             root.direct_alignment() > 0
                                 ? absl::StrCat("in multiples of ", root.direct_alignment())
                                 : "refused");
  if (root.direct_alignment() == 0) {
    check.verdict = Verdict::kWarn;
    check.fix = "a file system with O_DIRECT (ext4, XFS) spares the page cache and CPU time";
  }
  if (!read || root.bytes_read() == 0) return check;
  const double seconds =
      static_cast<double>(TimeUtil::DurationToNanoseconds(root.read_time())) / 1e9;
  const double rate = static_cast<double>(root.bytes_read()) / std::max(seconds, 1e-9);
  absl::StrAppend(&check.found, "; ", FormatRate(static_cast<uint64_t>(rate)), " with ",
                  root.engine(), root.direct() ? ", direct" : ", through the page cache", " (",
                  FormatBytes(root.bytes_read()), " of ", root.file(), ")");
  if (root.bytes_read() >= kMeasuredBytesMin && rate < kSlowBytesPerSecond) {
    check.verdict = Verdict::kWarn;
    check.fix = absl::StrCat("a faster volume: at this rate 16 GB take ",
                             static_cast<uint64_t>(16e9 / rate), " s");
  }
  return check;
}

Check CheckPidNamespace(uint64_t daemon, uint64_t own, bool uses_gpus) {
  Check check{.name = "PID namespace", .found = {}};
  if (daemon == 0 || own == 0) {
    check.verdict = Verdict::kSkip;
    check.found = "/proc does not show it";
  } else if (daemon == own) {
    check.found = "that of the daemon";
  } else if (uses_gpus) {
    check.verdict = Verdict::kWarn;
    check.found = absl::StrCat("another one than the daemon's (", own, " and ", daemon,
                               "): CUDA IPC handles do not open here");
    check.fix =
        "share it: shareProcessNamespace: true in the pod, --pid=container:NAME of podman and "
        "docker";
  } else {
    check.found = "another one than the daemon's, which matters to CUDA IPC only";
  }
  return check;
}

}  // namespace weightd::cli
