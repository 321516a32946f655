#ifndef WEIGHTD_CLIENT_CLI_DOCTOR_H_
#define WEIGHTD_CLIENT_CLI_DOCTOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/environment_facts.h"
#include "weightd/v1/weight_cache.pb.h"

// The checks of `weightctl doctor`: facts in, judgement and advice out. Pure functions.

namespace weightd::cli {

enum class Verdict {
  kPass,
  kWarn,  // works, and not as well as it could
  kFail,
  kSkip,  // does not concern this machine, or could not be looked at
};

struct Check {
  std::string name;
  Verdict verdict = Verdict::kPass;
  std::string found;
  std::string fix = {};  // what to do: never empty with kWarn or kFail
};

// What mends more than one check.
inline constexpr const char* kOpenFilesFix =
    "raise RLIMIT_NOFILE: LimitNOFILE= of systemd, --ulimit nofile= of a container";
inline constexpr const char* kLockedMemoryFix =
    "raise RLIMIT_MEMLOCK: LimitMEMLOCK=infinity of systemd, --ulimit memlock=-1 of a container";
inline constexpr const char* kHugePagesFix =
    "on the node: echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled, or reserve "
    "some: sysctl -w vm.nr_hugepages=N";
inline constexpr const char* kStuckFix =
    "look at the mount (`dmesg`, its server): the reads come back with it; `umount -f` ends them "
    "with an error";

ProcessFacts FromProto(const v1::ProcessFacts& facts);
MachineFacts FromProto(const v1::MachineFacts& facts);

// How files are read. `storage` is absent without a daemon: then it is judged for this process.
Check CheckUring(const v1::StorageStatus* storage, const ProcessFacts& process,
                 const MachineFacts& machine);
Check CheckSeccomp(const ProcessFacts& process);
// `storage` as above.
Check CheckMemlock(const v1::StorageStatus* storage, const ProcessFacts& process);
Check CheckHugePages(const MachineFacts& machine);
Check CheckRoot(const v1::RootFacts& root, bool read);
// Whether CUDA IPC handles of the daemon open in this process; `uses_gpus`: it hands some out.
Check CheckPidNamespace(uint64_t daemon, uint64_t own, bool uses_gpus);
// Device nodes, driver, and a check for each GPU.
std::vector<Check> CheckGpus(const v1::DriverFacts& driver, const v1::GetStatusResponse& status);
// How host memory is shared, and how much of it is used. `shared_bytes`: the machine's shared
// memory (Shmem of /proc/meminfo), where that is known. More than is booked is what clients still
// map after an eviction, or other programs'.
Check CheckHostMemory(const v1::GetStatusResponse& status,
                      std::optional<uint64_t> shared_bytes = {});
// Whether who may open the socket is also who may attach.
Check CheckAllowList(const v1::AccessFacts& access, uint32_t socket_gid);
// What the daemon says of itself: draining, another version, what it goes without, preloads.
std::vector<Check> CheckDaemon(const v1::GetStatusResponse& status, const std::string& version);

// What the kernel tells of a socket's path.
struct PathFacts {
  std::string path;
  int error_number = 0;  // of stat(2)
  uint32_t mode = 0;     // with the type
  uint32_t uid = 0;
  uint32_t gid = 0;
};
PathFacts LookAt(const std::string& path);
// Directory and socket; `own`: who asks.
Check CheckSocket(const PathFacts& directory, const PathFacts& socket, const ProcessFacts& own);
// The socket on which attaching gets its descriptors. `answer`: the daemon's, asked there; absent
// without a daemon.
Check CheckHandleSocket(const PathFacts& socket, const absl::Status* answer,
                        const ProcessFacts& own);
// Why no daemon answers: the status of connecting to it.
Check CheckUnreachable(const absl::Status& status, const PathFacts& directory,
                       const ProcessFacts& own);
// Why a daemon that answers did not say what it sees: the status of Diagnose.
Check CheckNotAsked(const absl::Status& status, const ProcessFacts& own);
// What it keeps from callers who may attach and not operate; `reads`: it was asked to read.
std::vector<Check> CheckWithheld(bool reads, const ProcessFacts& own);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_DOCTOR_H_
