#ifndef WEIGHTD_TESTS_BENCH_ARM_SET_H_
#define WEIGHTD_TESTS_BENCH_ARM_SET_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/device/device.h"
#include "daemon/staging/stager.h"
#include "tests/bench/bench_files.h"
#include "tests/bench/huge_pages.h"
#include "tests/bench/rounds.h"
#include "tests/bench/stage_arms.h"

namespace weightd::bench {

// The arms of stage_bench, by name, and what they keep from run to run: devices, stagers with their
// staging buffers, one destination. Thread-compatible; the arms live as long as this.
//
//   cold cold_pread cold_small   whole window into staging buffers: io_uring, pread, 4 KiB pages
//   half half_direct half_buffered   the same, half of each file cached; the choice left or forced
//   host host_small              window into fresh host memory: reserved huge pages, small pages
//   warm buffered_N              cached window into host memory that exists: ours, N threads of
//   pread loader_threads loader_mmap   as common loaders read tensors_runs tensors_each    a file
//   of small tensors: ours, one read per tensor fio_uring fio_libaio         the ceilings
class ArmSet {
 public:
  // Of `wanted`. `window` and `small_tensors` outlive it, as `huge_pages` does, which it fills.
  ArmSet(const std::set<std::string>& wanted, const FileSet& window, const FileSet& small_tensors,
         HugePageReserve& huge_pages);
  ArmSet(const ArmSet&) = delete;
  ArmSet& operator=(const ArmSet&) = delete;
  ~ArmSet();

  const std::vector<Arm>& arms() const { return arms_; }
  // Arms that are wanted and cannot be run as they are meant, and why.
  const std::map<std::string, absl::Status>& refused() const { return refused_; }
  // What the read path goes without on this machine, a sentence each.
  std::vector<std::string> fallbacks() const;

 private:
  uint64_t HugeBytes(const std::set<std::string>& wanted) const;
  absl::Status Prepare(const std::string& name);
  absl::StatusOr<Stager*> StagerFor(ReadEngine engine, Device& device);
  absl::Status PrepareFio(const std::string& name);
  absl::Status PrepareOurs(const std::string& name);
  absl::Status PrepareHost(const std::string& name);
  absl::Status PrepareWarm(const std::string& name);
  absl::Status MakeDestination();
  void PreparePlain(const std::string& name);
  void Add(const std::string& name, const FileSet& files, CacheState cache,
           std::function<absl::StatusOr<Sample>()> run);

  const FileSet& window_;
  const FileSet& small_tensors_;
  HugePageReserve& huge_pages_;
  absl::Status reserved_;  // whether there are the huge pages that ceilings need

  std::unique_ptr<Device> null_device_;
  std::unique_ptr<Device> small_host_device_;
  std::unique_ptr<Device> host_device_;
  std::map<std::pair<ReadEngine, Device*>, std::unique_ptr<Stager>> stagers_;
  std::unique_ptr<Stager> small_page_stager_;
  std::unique_ptr<Allocation> destination_;

  std::vector<Arm> arms_;
  std::map<std::string, absl::Status> refused_;
};

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_ARM_SET_H_
