#ifndef WEIGHTD_DAEMON_STORAGE_FILE_IDENTITY_H_
#define WEIGHTD_DAEMON_STORAGE_FILE_IDENTITY_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "daemon/storage/volume.h"

namespace weightd {

// OK when `now` is `opened`, else ABORTED/CHECKPOINT_CHANGED with each value that differs.
absl::Status CompareIdentity(absl::string_view path, const FileIdentity& opened,
                             const FileIdentity& now);

// ABORTED/CHECKPOINT_CHANGED: "<path> changed since it was opened: <what>".
absl::Status ChangedError(absl::string_view path, absl::string_view what);

// What a File's ReadAt says about a range that passes the size it had at opening:
// DATA_LOSS/READ_FAILED.
absl::Status ReadPastEndError(absl::string_view path, uint64_t offset, uint64_t length,
                              uint64_t size_bytes);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_FILE_IDENTITY_H_
