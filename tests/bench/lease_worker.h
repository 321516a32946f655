#ifndef WEIGHTD_TESTS_BENCH_LEASE_WORKER_H_
#define WEIGHTD_TESTS_BENCH_LEASE_WORKER_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/support/process/child_process.h"

namespace weightd::bench {

// What all workers of a daemon are told when they start.
struct WorkerSetup {
  std::string program;  // ours: it calls RunLeaseWorker() when it is started with --worker MODEL
  std::string socket_dir;
  std::string model;
  uint64_t tensors = 0;  // that an attach must have mapped
};

// A client process of lease_bench, from its parent: it attaches through the C++ library and does
// what it is told. A command is started by Start...() and over with Finish...(), so that several
// workers can be at it at once. Thread-compatible.
class LeaseWorker {
 public:
  explicit LeaseWorker(const WorkerSetup& setup);

  // Attaches or drops until `count` mappings are held.
  void StartHold(uint64_t count);
  // Attaches and drops `count` times, as fast as it can.
  void StartBurst(uint64_t count);
  // Of either.
  absl::Status Finish();

  // Attaches and drops `count` times; milliseconds of each Attach(), the drop left out.
  absl::StatusOr<std::vector<double>> TimeAttaches(uint64_t count);

 private:
  absl::StatusOr<nlohmann::json> Answer();

  testing::ChildProcess child_;
};

// That process: answers the commands of stdin until it ends. The value is its exit status.
int RunLeaseWorker(const WorkerSetup& setup);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_LEASE_WORKER_H_
