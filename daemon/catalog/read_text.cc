#include "daemon/catalog/read_text.h"

#include <cstddef>

#include "absl/types/span.h"
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

}  // namespace weightd
