#include "daemon/catalog/read_text.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/format/json_reader.h"

namespace weightd {

absl::StatusOr<std::string> ReadText(const File& file, uint64_t offset, uint64_t bytes) {
  std::string text;
  text.reserve(bytes + kJsonPaddingBytes);
  text.resize(bytes);
  RETURN_IF_ERROR(
      file.ReadAt(offset, absl::MakeSpan(reinterpret_cast<std::byte*>(text.data()), text.size())));
  return text;
}

absl::StatusOr<std::optional<std::string>> ReadTextFile(Volume& volume, const std::string& path,
                                                        uint64_t bytes_max) {
  const auto file = volume.Open(path);
  if (absl::IsNotFound(file.status())) return std::nullopt;
  RETURN_IF_ERROR(file.status());
  const uint64_t bytes = (*file)->identity().size_bytes;
  if (bytes > bytes_max) {
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
                           absl::StrCat("read ", path, ": it has ", bytes, " bytes, at most ",
                                        bytes_max, " are allowed"));
  }
  ASSIGN_OR_RETURN(std::string text, ReadText(**file, 0, bytes));
  return text;
}

}  // namespace weightd
