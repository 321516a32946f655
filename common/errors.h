#ifndef WEIGHTD_COMMON_ERRORS_H_
#define WEIGHTD_COMMON_ERRORS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// The reasons behind an error, and the one place where errno becomes a Status.
//
// A code says what a caller can do about an error (absl/status); a reason says which error it is.
// Reasons travel as google.rpc.ErrorInfo (domain "weightd") and are stable: clients may compare
// them. All functions here are thread-safe.

namespace weightd {

inline constexpr absl::string_view kErrorDomain = "weightd";

enum class Reason {
  kModelNotFound,      // no such model below the roots
  kModelNotResident,   // known or not, it is not in memory
  kModelBusy,          // the state it is in does not allow the request
  kModelLeased,        // a client holds it
  kCheckpointInvalid,  // the file breaks its format's rules
  kCheckpointChanged,  // the file changed while it was read
  kReadFailed,         // the disk or the volume answered with an error
  kPathOutsideRoot,    // "..", an absolute path or symlink
  kBudgetExceeded,     // it does not fit, even after evicting what may go
  kLimitExceeded,      // one of the configured limits
  kDeviceNotFound,     // no such device here, or it cannot be used
  kDeviceFailed,       // the driver refused or failed
  kHandleUnusable,     // the client could not use the handle that this device exports
  kPermissionDenied,   // the allow-list does not name the caller
  kDraining,           // the daemon is shutting down
  kCancelled,          // somebody asked for it
  kInvalidRequest,     // the request contradicts itself or lacks a field
  kTicketInvalid,      // unknown, used or foreign ticket on the handle socket
  kUnreachable,        // client side: no daemon answers
  kIntegrityFailed,    // bytes differ from what they should be
  kLeaseRevoked,       // an operator evicted by force what the lease was on
  kKeyMissing,         // the file is encrypted, and no key for it was given
  kDigestMissing,      // the configuration wants a digest manifest, and there is none
  kWaitTimeout,        // what an attach waited for did not become resident in time
  kVolumeBusy,         // too much waits for this volume already; others are not affected
  kVolumeStuck,        // the volume does not answer: what was asked of it is abandoned
};

// "MODEL_NOT_FOUND" and so on: the word on the wire, in logs and in JSON.
absl::string_view ReasonName(Reason reason);
std::optional<Reason> ReasonFromName(absl::string_view name);

// A Status with a reason and, optionally, numbers or names that go with it (`metadata`, keys in
// lowerCamelCase as google.rpc.ErrorInfo asks).
absl::Status ErrorWithReason(absl::StatusCode code, Reason reason, absl::string_view message,
                             const std::map<std::string, std::string>& metadata = {});

// The reason that a Status carries, if any.
std::optional<Reason> GetReason(const absl::Status& status);
// Its name, or kUnknownReason: an error always has a word, and there is a bounded number of them.
inline constexpr absl::string_view kUnknownReason = "UNKNOWN";
absl::string_view ReasonWord(const absl::Status& status);
// Every name, kUnknownReason too.
std::vector<absl::string_view> ReasonWords();
// The metadata that a Status carries; empty if none.
std::map<std::string, std::string> GetReasonMetadata(const absl::Status& status);

// `status` with "context: " before its message; code, reason and metadata stay.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

// errno -> Status: "<what>: <text of errno>". The code follows what the caller can do: ENOENT is
// NOT_FOUND, EACCES and EPERM PERMISSION_DENIED, ENOMEM, ENOSPC, EMFILE RESOURCE_EXHAUSTED, EIO and
// ESTALE DATA_LOSS, EINTR and EAGAIN UNAVAILABLE, EINVAL INVALID_ARGUMENT, ENOSYS UNIMPLEMENTED.
absl::Status PosixError(int error, absl::string_view what);

// PosixError for reading a file: the reason is kReadFailed.
absl::Status ReadError(int error, absl::string_view file, uint64_t offset);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_ERRORS_H_
