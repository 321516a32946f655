#ifndef WEIGHTD_TESTS_INTEGRATION_DAEMON_DAEMON_FIXTURE_H_
#define WEIGHTD_TESTS_INTEGRATION_DAEMON_DAEMON_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/process/attach_probe.h"
#include "tests/support/process/daemon_process.h"
#include "tests/support/process/weightctl.h"

namespace weightd::testing {

// A place for a daemon: a root, a socket directory, and what watches it. A failed test prints the
// daemon's log.
class DaemonTest : public ::testing::Test {
 protected:
  DaemonTest();
  ~DaemonTest() override;

  // Starts weightd and waits until it serves; null after a failure of the test. One at a time.
  DaemonProcess* Start(std::vector<std::string> flags = {},
                       const std::vector<std::string>& environment = {});
  // Start(), and nobody may attach, as a sidecar's client: the sockets are open to his group.
  void StartForNobody(std::vector<std::string> flags = {});
  // SIGTERM must lead to exit status 0.
  void StopCleanly();

  // A path below the root.
  std::string InRoot(const std::string& path) const { return root_ + "/" + path; }
  // Writes the one-file model `name` of `bytes` and returns its path.
  std::string MakeModel(const std::string& name, uint64_t bytes, uint64_t seed = 1) const;
  // `weightctl stage MODEL --wait` must succeed.
  void Stage(const std::string& model) const;
  // Attaches from another process, which will compare with `files`.
  std::unique_ptr<AttachProbe> Attach(const std::string& model,
                                      const std::vector<std::string>& files = {},
                                      const std::string& device = "") const;
  // Attaches from another process, compares every byte with `files` and leaves.
  void ExpectSameAsFiles(const std::string& model, const std::vector<std::string>& files,
                         const std::string& device = "") const;
  ProbeOptions Probe(const std::string& model, const std::vector<std::string>& files,
                     const std::string& device = "") const;

  // The device's entry of GetStatus.
  nlohmann::json DeviceStatus(const std::string& id = "host") const;
  uint64_t UsedBytes(const std::string& id = "host") const;
  // Names of the resident models, sorted.
  std::vector<std::string> Resident() const;
  // The copies in memory, an entry each of ListModels.
  std::vector<nlohmann::json> Generations(const std::string& model) const;
  uint64_t GenerationOf(const std::string& model) const;
  size_t LeaseCount() const;
  // Where a daemon with a metrics.address listens; 0 for none.
  int MetricsPort() const;
  // What Prometheus scrapes of a daemon with a metrics.address on 127.0.0.1; empty for none.
  std::string Metrics() const;
  // The value of one series, `name{label="value"}`; -1 where there is none.
  double MetricOf(const std::string& series) const;
  // What the daemon has told since it started, a JSON object each, until `last_type` came.
  std::vector<nlohmann::json> EventsUntil(const std::string& last_type) const;

  TempDir dir_;
  std::string root_ = dir_.File("root");
  std::string socket_dir_ = dir_.File("run");
  std::string state_file_;  // none: the daemon keeps nothing
  Weightctl ctl_{socket_dir_};
  std::unique_ptr<DaemonProcess> daemon_;
  // Added to the daemon and the probes: the fake driver.
  std::vector<std::string> environment_;
};

// Reads of the file that ends with `file` wait, at `offset`, until Release(): makes what happens
// meanwhile happen meanwhile. Needs `--storage.engine PREAD`.
class HeldRead {
 public:
  HeldRead(const TempDir& dir, std::string file, uint64_t offset)
      : wait_file_(dir.File("go-on")), file_(std::move(file)), offset_(offset) {}
  // For the daemon.
  std::vector<std::string> environment() const;
  // Whether the daemon has come to the read.
  bool WaitUntilReached() const;
  void Release() const;

 private:
  const std::string wait_file_;
  const std::string file_;
  const uint64_t offset_;
};

// A user and group who are not the daemon's, for clients of tests that run as root.
inline constexpr uint32_t kNobody = 65534;
inline constexpr uint32_t kNogroup = 65534;
// A group that may enter the socket directory, since it is ours.
inline constexpr uint32_t kOurGroup = 0;

inline const std::vector<std::string> kPread = {"--storage.engine", "PREAD"};

// The files of a directory, sorted.
std::vector<std::string> FileNames(const std::string& directory);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_DAEMON_DAEMON_FIXTURE_H_
