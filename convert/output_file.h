#ifndef WEIGHTD_CONVERT_OUTPUT_FILE_H_
#define WEIGHTD_CONVERT_OUTPUT_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/unique_fd.h"

namespace weightd {

// A file that appears under its name whole or not at all: it is written without a name where the
// file system can do that (O_TMPFILE), else under a hidden one that is removed when it is given up.
// Thread-compatible.
class OutputFile {
 public:
  // Takes the room at once: RESOURCE_EXHAUSTED on a full disk. ALREADY_EXISTS/INVALID_REQUEST where
  // `path` is there and must not be replaced.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path, uint64_t bytes,
                                                            bool replace);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  absl::Status WriteAt(uint64_t offset, absl::Span<const std::byte> bytes);
  absl::Status WriteAt(uint64_t offset, absl::string_view text);
  // Everything is on the disk (fsync), then it takes its name, and the directory is on the disk.
  absl::Status Commit();

 private:
  OutputFile(const std::string& path, bool replace);
  absl::Status Open();
  absl::Status GiveName();

  const std::string path_;
  const std::string directory_;
  const std::string hidden_path_;  // until Commit(), where it has a name at all
  const bool replace_;
  UniqueFd fd_;
  bool is_named_ = false;  // as hidden_path_
};

}  // namespace weightd

#endif  // WEIGHTD_CONVERT_OUTPUT_FILE_H_
