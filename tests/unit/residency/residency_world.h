#ifndef WEIGHTD_TESTS_UNIT_RESIDENCY_RESIDENCY_WORLD_H_
#define WEIGHTD_TESTS_UNIT_RESIDENCY_RESIDENCY_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/align.h"
#include "daemon/residency/residency.h"
#include "tests/support/common/fake_clock.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {

// What any model of these tests takes: one unit of allocation.
inline constexpr uint64_t kUnit = 2 * kMiB;

// A clock that moves when told, and can stop one of those who ask. Thread-safe.
class GateClock final : public Clock {
 public:
  absl::Time Now() const override;
  void Advance(absl::Duration by) { time_.Advance(by); }
  // Stops the `nth` call from now, from 1, until Open().
  void StopCall(int nth);
  void AwaitStopped();
  void Open();

 private:
  FakeClock time_;
  mutable absl::Mutex mu_;
  mutable int calls_left_ ABSL_GUARDED_BY(mu_) = 0;
  mutable bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
};
// Which call to a job's clock comes when its bytes are taken and its reading begins.
inline constexpr int kCallBeforeReading = 4;

// The events of a log, in order, as "type model". Thread-safe.
class EventRecorder {
 public:
  explicit EventRecorder(EventLog& log);
  ~EventRecorder();
  std::vector<std::string> lines() const;
  // Waits for the `nth` event that is `line`, from 1.
  void Await(const std::string& line, int nth = 1);

 private:
  EventLog& log_;
  mutable absl::Mutex mu_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mu_);
  uint64_t id_ = 0;
};

struct WorldOptions {
  uint64_t budget_bytes = 16 * kUnit;
  uint32_t jobs_max = 1;
  uint32_t queue_max = 8;
  ReadEngine engine = ReadEngine::kPread;
  std::shared_ptr<Device> device = {};  // the host's if null
  // More devices, each with its budget; the last of all is the default device.
  std::vector<std::pair<std::shared_ptr<Device>, uint64_t>> more_devices = {};
  bool demote = true;
  std::vector<Pin> pins = {};
  LastUses last_uses = {};
};

// A Residency with its threads on real files. Thread-compatible.
class ResidencyWorld {
 public:
  explicit ResidencyWorld(const WorldOptions& options = {});
  ~ResidencyWorld();

  // Writes or replaces <model>.safetensors, one tensor "weight" of `bytes` bytes.
  void AddModel(const std::string& model, uint64_t seed = 1, uint64_t bytes = 100'000);
  // From here on the models that are there now are known, as to a daemon that has looked through
  // its roots: their jobs wait among those of their volume. Before the first job.
  void LookThroughTheRoot();
  std::string PathOf(const std::string& model) const { return dir_.File(model + ".safetensors"); }

  // Starts or joins; the request must be accepted.
  StageTicket Start(const StageRequest& request);
  // Start, and wait for its end.
  StageSnapshot Stage(const StageRequest& request);
  StageSnapshot StageModel(const std::string& model) { return Stage({.model = model}); }

  // Whether `model` is resident with the bytes of `seed`, on `device` or where Acquire() looks.
  bool Holds(const std::string& model, uint64_t seed, const std::string& device = "");
  // "device" or "device (host copy)" for each resident copy that is not superseded.
  std::vector<std::string> CopiesOf(const std::string& model) const;
  uint64_t used_bytes() const { return residency_->Usage().front().used_bytes; }
  // Models that are resident and not superseded, sorted.
  std::vector<std::string> ResidentModels() const;

  Residency& residency() { return *residency_; }
  EventLog& events() { return events_; }
  EventRecorder& recorder() { return recorder_; }
  GateClock& clock() { return clock_; }
  const std::string& device_id() const { return device_id_; }
  void DestroyResidency() { residency_.reset(); }

 private:
  TempDir dir_;
  GateClock clock_;
  FakeClock event_clock_;
  EventLog events_{event_clock_, nullptr};
  EventRecorder recorder_{events_};
  std::unique_ptr<Catalog> catalog_;
  std::string device_id_;
  std::unique_ptr<Residency> residency_;
};

// Waits for the end of a job.
StageSnapshot AwaitEnd(StageJob& job);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_RESIDENCY_RESIDENCY_WORLD_H_
