#include "convert/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_call.h"
#include "daemon/catalog/model_name.h"

namespace weightd {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPartBytes = 4 * kMiB;

}  // namespace

absl::StatusOr<OpenedCheckpoint> OpenSource(const std::string& path) {
  std::error_code error;
  const fs::path full = fs::absolute(fs::path(path), error).lexically_normal();
  if (error) return PosixError(error.value(), absl::StrCat("open ", path));
  struct statx facts {};
  if (VolumeCall(SYS_statx, AT_FDCWD, reinterpret_cast<long>(full.c_str()), 0, STATX_TYPE,
                 reinterpret_cast<long>(&facts)) != 0) {
    return PosixError(errno, absl::StrCat("open ", path));
  }
  // "/a/b/" has no file name.
  const fs::path named = full.has_filename() ? full : full.parent_path();
  ASSIGN_OR_RETURN(std::unique_ptr<Volume> opened, OpenVolume(named.parent_path().string()));
  const std::shared_ptr<Volume> volume = std::move(opened);
  const Catalog catalog({volume}, {});
  const std::string name = named.filename().string();
  if (S_ISDIR(facts.stx_mode)) {
    ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                     catalog.Find(IsHubDirectory(name) ? ModelOfHubDirectory(name) : name));
    return catalog.Open(checkpoint);
  }
  Checkpoint checkpoint;
  checkpoint.model = name;
  checkpoint.volume = volume;
  checkpoint.shard_paths = {name};
  return catalog.Open(checkpoint);
}

absl::Status RefuseEncrypted(const OpenedCheckpoint& source) {
  for (const ShardEntry& shard : source.manifest.shards) {
    if (!shard.is_encrypted) continue;
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kKeyMissing,
                           absl::StrCat(shard.path, " is encrypted; only weightd has its key"));
  }
  return absl::OkStatus();
}

absl::Status ForEachPart(const OpenedCheckpoint& source, size_t tensor_index,
                         absl::FunctionRef<absl::Status(absl::Span<const std::byte>)> use) {
  const TensorEntry& tensor = source.manifest.tensors[tensor_index];
  const File& file = *source.files[tensor.shard_index];
  const uint64_t begin = source.manifest.shards[tensor.shard_index].data_offset + tensor.offset;
  std::vector<std::byte> buffer(std::min(tensor.bytes, kPartBytes));
  for (uint64_t done = 0; done < tensor.bytes;) {
    const auto part = absl::MakeSpan(buffer).subspan(0, tensor.bytes - done);
    if (!tensor.is_meta) RETURN_IF_ERROR(file.ReadAt(begin + done, part));
    RETURN_IF_ERROR(use(part));
    done += part.size();
  }
  return absl::OkStatus();
}

}  // namespace weightd
