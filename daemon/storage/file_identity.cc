#include "daemon/storage/file_identity.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"

namespace weightd {

std::set<uint64_t> VolumesOf(absl::Span<const FileIdentity> files) {
  std::set<uint64_t> volumes;
  for (const FileIdentity& file : files) volumes.insert(file.device);
  return volumes;
}

std::set<uint64_t> VolumesOf(absl::Span<const std::shared_ptr<File>> files) {
  std::set<uint64_t> volumes;
  for (const auto& file : files) volumes.insert(file->identity().device);
  return volumes;
}

absl::Status CompareIdentity(absl::string_view path, const FileIdentity& opened,
                             const FileIdentity& now) {
  std::vector<std::string> differences;
  const auto compare = [&](absl::string_view name, auto before, auto after) {
    if (before != after) differences.push_back(absl::StrCat(name, " ", before, " -> ", after));
  };
  compare("size", opened.size_bytes, now.size_bytes);
  compare("mtime_ns", opened.mtime_ns, now.mtime_ns);
  compare("ctime_ns", opened.ctime_ns, now.ctime_ns);
  compare("inode", opened.inode, now.inode);
  compare("device", opened.device, now.device);
  if (differences.empty()) return absl::OkStatus();
  return ChangedError(path, absl::StrJoin(differences, ", "));
}

absl::Status ChangedError(absl::string_view path, absl::string_view what) {
  return ErrorWithReason(absl::StatusCode::kAborted, Reason::kCheckpointChanged,
                         absl::StrCat(path, " changed since it was opened: ", what));
}

absl::Status ReadPastEndError(absl::string_view path, uint64_t offset, uint64_t length,
                              uint64_t size_bytes) {
  const uint64_t there = offset < size_bytes ? size_bytes - offset : 0;
  return ErrorWithReason(absl::StatusCode::kDataLoss, Reason::kReadFailed,
                         absl::StrCat("read ", path, " at ", offset, ": file ends after ", there,
                                      " of ", length, " bytes"));
}

}  // namespace weightd
