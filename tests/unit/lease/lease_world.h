#ifndef WEIGHTD_TESTS_UNIT_LEASE_LEASE_WORLD_H_
#define WEIGHTD_TESTS_UNIT_LEASE_LEASE_WORLD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "daemon/lease/lease_table.h"
#include "tests/support/common/fake_clock.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/device/forwarding_device.h"

namespace weightd::testing {

// A MemoryDevice of which each export first calls a function that the test gives: what happens in
// the middle of a grant. Thread-safe.
class HookedDevice final : public ForwardingDevice {
 public:
  using Hook = std::function<absl::Status()>;

  using ForwardingDevice::ForwardingDevice;

  // Called before each export, until it is replaced; an error is the export's.
  void OnExport(Hook hook);
  absl::Status CallHook();

  absl::StatusOr<std::unique_ptr<Allocation>> Allocate(uint64_t bytes) override;

 private:
  absl::Mutex mu_;
  Hook hook_ ABSL_GUARDED_BY(mu_);
};

// What a lease holder was told: "superseded 2", "draining", "revoking", "revoked". Thread-safe.
class Notices {
 public:
  std::function<void(const LeaseNotice&)> Callback();
  std::vector<std::string> lines() const;

 private:
  mutable absl::Mutex mu_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mu_);
};

// Leases on a Residency with real threads and files and a device in memory. Thread-compatible.
class LeaseWorld {
 public:
  explicit LeaseWorld(DeviceKind kind, const LeaseOptions& options = {});
  ~LeaseWorld();

  // Writes <model>.safetensors and stages it; the generation is the return value.
  GenerationId Stage(const std::string& model, bool restage = false);
  // A request of process `pid`, in our namespace.
  LeaseRequest Request(const std::string& model, int32_t pid = 100, uint32_t uid = 1000);
  // "type model detail" of each event since the last call.
  std::vector<std::string> TakeEvents();
  // Likewise, when there are `count`.
  std::vector<std::string> AwaitEvents(size_t count);
  uint32_t lease_count(const std::string& model) const;

  LeaseTable& leases() { return *leases_; }
  Residency& residency() { return *residency_; }
  HookedDevice& device() { return *device_; }
  FakeClock& clock() { return clock_; }
  Notices& notices() { return notices_; }
  void DestroyLeases() { leases_.reset(); }

 private:
  TempDir dir_;
  FakeClock clock_;
  absl::Mutex mu_;
  std::vector<std::string> events_seen_ ABSL_GUARDED_BY(mu_);
  EventLog events_{clock_, nullptr};
  std::unique_ptr<Catalog> catalog_;
  std::shared_ptr<HookedDevice> device_;
  std::unique_ptr<Residency> residency_;
  std::unique_ptr<LeaseTable> leases_;
  Notices notices_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_LEASE_LEASE_WORLD_H_
