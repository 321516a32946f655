#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_VOLUME_PUBLISHER_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_VOLUME_PUBLISHER_H_

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "tests/integration/history/history.h"
#include "tests/integration/history/history_model.h"

namespace weightd::testing {

// Puts new versions of models on the volume, as publishers do: each is written whole beside the
// root, takes the place of the one before by rename, and that one is then deleted.
// Thread-compatible.
class VolumePublisher {
 public:
  // `workshop` is on the file system of `root`.
  VolumePublisher(std::string root, std::string workshop);

  // The first version of every model.
  absl::Status PublishAll();
  // New versions of models that `seed` chooses, until `stop`.
  absl::Status PublishUntil(const absl::Notification& stop, uint64_t seed);

  const std::vector<VolumeVersion>& versions() const { return versions_; }

 private:
  // How a directory takes another one's place.
  enum class Swap {
    kExchange,   // there is always one
    kMoveAside,  // for a moment there is none
  };
  absl::Status Publish(const HistoryModel& model, Swap swap);
  absl::Status Write(const HistoryModel& model, uint64_t version) const;
  absl::Status PutInPlace(const HistoryModel& model, uint64_t version, Swap swap) const;
  absl::Status PutSnapshotInPlace(const HistoryModel& model, uint64_t version) const;
  // The old version's files, which nothing names any more.
  absl::Status Clear(const HistoryModel& model, uint64_t old_version) const;

  const std::string root_;
  const std::string workshop_;
  std::map<std::string, size_t> current_;  // of each model, into versions_
  std::vector<VolumeVersion> versions_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_VOLUME_PUBLISHER_H_
