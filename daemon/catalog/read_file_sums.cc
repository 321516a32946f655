#include "daemon/catalog/read_file_sums.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "daemon/catalog/model_name.h"
#include "daemon/catalog/read_text.h"

namespace weightd {

absl::StatusOr<std::vector<FileSum>> ReadFileSums(const OpenedCheckpoint& opened) {
  const Checkpoint& checkpoint = opened.checkpoint;
  const std::string path = JoinPath(checkpoint.directory, std::string(kSha256Sums));
  using Text = std::optional<std::string>;
  ASSIGN_OR_RETURN(const Text text,
                   CallNear<Text>(*checkpoint.volume,
                                  VolumeWork(absl::StrCat("read ", path), checkpoint.volumes),
                                  [volume = checkpoint.volume, path] {
                                    return ReadTextFile(*volume, path, kSha256SumsBytesMax);
                                  }));
  ASSIGN_OR_RETURN(const auto listed, ParseSha256Sums(text.value_or(""), path));
  std::vector<FileSum> sums;
  for (uint32_t i = 0; i < opened.files.size(); ++i) {
    const File& file = *opened.files[i];
    absl::string_view name = file.path();
    if (!checkpoint.directory.empty()) {
      name = absl::StripPrefix(name, absl::StrCat(checkpoint.directory, "/"));
    }
    if (const auto found = listed.find(name); found != listed.end()) {
      sums.push_back({.shard_index = i, .sha256 = found->second, .source = path});
    }
    if (const auto sha256 = ParseSha256(file.real_name()); sha256.has_value()) {
      sums.push_back({.shard_index = i, .sha256 = *sha256, .source = "the name of its blob"});
    }
  }
  return sums;
}

}  // namespace weightd
