#ifndef WEIGHTD_TESTS_BENCH_FORMAT_ARMS_H_
#define WEIGHTD_TESTS_BENCH_FORMAT_ARMS_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
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

// One model in the forms that are compared: of the same tensors, in the same order.
struct FormatFiles {
  FileSet safetensors;
  FileSet tensors;  // as the reference writer lays it out: nothing is aligned, all is scattered
  FileSet aligned;  // data on 256 bytes: staged as one run
};
// Makes what is missing in `folder`; it stays for the next run.
absl::StatusOr<FormatFiles> MakeFormatFiles(const std::string& folder, uint64_t bytes);

// The arms of format_bench, by name, all of them cold:
//
//   FILES_staging    into staging buffers, verify FAST, as the daemon does it by default
//   FILES_none       likewise with NONE
//   FILES_full       likewise with FULL
//   FILES_host       FAST, into fresh host memory of reserved huge pages, sealed
//   FILES_host_full  likewise with FULL
//   FILES_small      FAST, into fresh host memory of 4 KiB pages, sealed
//   tensorizer       the real library, to CPU memory, in a Python that runs already
//   tensorizer_verify   likewise, with verify_hash
//
// FILES is safetensors, tensors or aligned. Thread-compatible; the arms live as long as this.
class FormatArms {
 public:
  // Of `wanted`. `python` has tensorizer, or is empty. `files` outlives it, as `huge_pages` does,
  // which it fills.
  FormatArms(const std::set<std::string>& wanted, const FormatFiles& files, std::string python,
             HugePageReserve& huge_pages);
  FormatArms(const FormatArms&) = delete;
  FormatArms& operator=(const FormatArms&) = delete;
  ~FormatArms();

  const std::vector<Arm>& arms() const { return arms_; }
  const std::map<std::string, absl::Status>& refused() const { return refused_; }
  std::vector<std::string> fallbacks() const;

 private:
  absl::Status Prepare(const std::string& name);
  absl::Status PrepareTensorizer(const std::string& name);
  absl::Status PrepareStage(const std::string& name);
  absl::StatusOr<Stager*> StagerFor(Device& device);

  const FormatFiles& files_;
  const std::string python_;
  absl::Status reserved_;
  std::unique_ptr<Device> null_device_;
  std::unique_ptr<Device> host_device_;
  std::unique_ptr<Device> small_host_device_;
  std::map<Device*, std::unique_ptr<Stager>> stagers_;
  std::vector<Arm> arms_;
  std::map<std::string, absl::Status> refused_;
};

// "tensorizer 2.12.1, torch 1.13.0, Python 3.11"; an error where `python` does not have them.
absl::StatusOr<std::string> TensorizerVersion(const std::string& python);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_FORMAT_ARMS_H_
