#ifndef WEIGHTD_DAEMON_STAGING_FILE_HASHER_H_
#define WEIGHTD_DAEMON_STAGING_FILE_HASHER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "daemon/format/manifest.h"
#include "daemon/format/sha256_sums.h"
#include "daemon/storage/volume.h"

namespace weightd {

// Compares the SHA-256 of whole files while their data sections pass; what lies before and behind a
// section is read for it again. Files of which nothing is known cost nothing. Thread-compatible.
class FileHasher {
 public:
  // `files` are like the manifest's shards, `sums` by shard. Manifest and files outlive it.
  FileHasher(const Manifest& manifest, absl::Span<const std::shared_ptr<File>> files,
             std::vector<FileSum> sums);

  // The next bytes of a data section, as they are in the file. Sections come whole and in order;
  // one without bytes does not come. DATA_LOSS/INTEGRITY_FAILED with file, sum and who says
  // otherwise; the errors of File::ReadAt.
  absl::Status Update(uint32_t shard_index, absl::Span<const std::byte> bytes);
  // After the last of them: files without data are compared too.
  absl::Status Finish();

  // Files that were compared.
  uint64_t checked() const { return checked_; }

 private:
  bool IsKnown(uint32_t shard_index) const;
  absl::Status HashRange(const File& file, uint64_t begin, uint64_t end);
  absl::Status Begin(uint32_t shard_index);
  absl::Status End(uint32_t shard_index);
  // Files before this one, whose sections have no bytes.
  absl::Status CompareEmptyBefore(uint32_t shard_index);

  const Manifest& manifest_;
  const absl::Span<const std::shared_ptr<File>> files_;
  const std::vector<FileSum> sums_;
  uint32_t next_shard_ = 0;             // those before it are done
  std::optional<Sha256Hasher> hasher_;  // of that one, once its section has begun
  uint64_t passed_bytes_ = 0;           // of its section
  uint64_t checked_ = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_FILE_HASHER_H_
