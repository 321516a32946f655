#ifndef WEIGHTD_DAEMON_RESIDENCY_SAVED_STATE_H_
#define WEIGHTD_DAEMON_RESIDENCY_SAVED_STATE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "daemon/residency/stage_context.h"
#include "daemon/residency/state_lock.h"
#include "daemon/residency/table_types.h"

// What survives the daemon, in a small file: pins, and when models were last used. Thread-safe:
// pure functions, and a file that one process writes.

namespace weightd {

// Of each kind; of more uses the latest are kept.
inline constexpr size_t kSavedMax = 4096;

struct SavedState {
  std::vector<Pin> pins;
  LastUses last_uses;
};

// JSON, for people too:
//
//   {"format": 1,
//    "pins": [{"model": "a", "revision": "", "device": "host"}],
//    "last_uses": [{"model": "a", "device": "host", "time_ns": 1700000000000000000}]}
std::string FormatSavedState(const SavedState& state);

// DATA_LOSS with what is wrong, for anything but what FormatSavedState() writes; unknown members
// are passed over. All or nothing is taken.
absl::StatusOr<SavedState> ParseSavedState(absl::string_view text);

// Empty for a file that is not there. DATA_LOSS for one that is not valid or above 4 MiB;
// FAILED_PRECONDITION for a directory, which cannot become a file.
absl::StatusOr<SavedState> LoadSavedState(const std::string& path);

// The state, and that it is this daemon's.
struct OwnedState {
  absl::StatusOr<SavedState> state;  // as LoadSavedState()
  StateLock lock;
};
// Makes the directory if it is missing. The errors of StateLock::Take(), and FAILED_PRECONDITION
// for a directory. DEADLINE_EXCEEDED when that takes longer: what hangs is left behind.
absl::StatusOr<OwnedState> LoadOwnedState(const std::string& path, const std::string& self,
                                          absl::Duration timeout);

// Writes what FormatSavedState() made to a temporary file beside it, to the disk, and renames: a
// crash leaves the old state or the new one. Makes the directory if it is missing. The errors of
// the system, and then the old one is as it was.
absl::Status StoreSavedState(const std::string& path, absl::string_view text);
// Whether that could be done; leaves at most the directory.
absl::Status ProbeSavedState(const std::string& path);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_SAVED_STATE_H_
