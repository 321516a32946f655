#ifndef WEIGHTD_DAEMON_FORMAT_SAFETENSORS_HANDLER_H_
#define WEIGHTD_DAEMON_FORMAT_SAFETENSORS_HANDLER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/dtype.h"
#include "daemon/format/json_reader.h"
#include "daemon/format/manifest.h"
#include "daemon/format/safetensors.h"

namespace weightd {

// Collects the entries of a safetensors header, in the order of the text. It knows the grammar
// (formats.md 2.2), not how entries relate to each other or to the file.
//
//   kStart { kRoot ( "__metadata__" kMetadata { kMetadataKey kMetadataValue } | name kEntry )* }
//   kEntry { kField ( kDtype | kShape [ kDimension ] | kOffsets [ kOffset ] | kUnknown )* }
//   kEntry [ kDtype kShape [..] kOffsets [..] kEntryEnd ]
//   kDtype "F32"  or  { kVariant "F32" kVariantValue null kVariantEnd }
//
// Thread-compatible; used for one text.
class SafetensorsHandler final : public JsonHandler {
 public:
  // Data offsets as the header has them, not checked.
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  SafetensorsHandler(const SafetensorsLimits& limits, size_t tensors_hint);

  absl::Status StartObject() override;
  absl::Status EndObject() override;
  absl::Status StartArray() override;
  absl::Status EndArray() override;
  absl::Status Key(absl::string_view key) override;
  absl::Status Scalar(const JsonScalar& scalar) override;

  // Name, dtype and shape are set; `ranges[i]` belongs to `tensors[i]`.
  std::vector<TensorEntry> tensors;
  std::vector<Range> ranges;
  std::map<std::string, std::string> metadata;

 private:
  enum class At : uint8_t {
    kStart,
    kRoot,
    kMetadata,
    kMetadataKey,
    kMetadataValue,
    kEntry,
    kField,
    kEntryEnd,
    kDtype,
    kVariant,
    kVariantValue,
    kVariantEnd,
    kShape,
    kDimension,
    kOffsets,
    kOffset,
    kUnknown,
    kEnd,
  };

  absl::Status RootKey(absl::string_view key);
  absl::Status FieldKey(absl::string_view key);
  absl::Status SetDtype(absl::string_view code);
  absl::Status AddDimension(uint64_t dimension);
  absl::Status AddOffset(uint64_t offset);
  // After the value of dtype, shape or data_offsets.
  void FinishField(At field);
  absl::Status FinishEntry();
  void FinishUnknown();
  absl::Status Unexpected(absl::string_view got) const;
  // "tensor "w": " or "__metadata__: ", where the text stands in one.
  std::string Place() const;
  absl::string_view Wanted() const;

  const SafetensorsLimits limits_;
  At at_ = At::kStart;
  bool is_array_entry_ = false;
  bool has_metadata_ = false;
  uint8_t fields_ = 0;               // seen in this entry: kDtypeBit and so on
  uint32_t offsets_count_ = 0;       // seen in this data_offsets
  uint32_t unknown_depth_ = 0;       // open objects and arrays of an unknown field's value
  Dtype last_dtype_ = Dtype::kBf16;  // that was seen; before the first, a likely one
  std::string metadata_key_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_SAFETENSORS_HANDLER_H_
