#include "daemon/format/safetensors_handler.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/dtype.h"
#include "common/errors.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr absl::string_view kMetadataName = "__metadata__";

constexpr uint8_t kDtypeBit = 1;
constexpr uint8_t kShapeBit = 2;
constexpr uint8_t kOffsetsBit = 4;
constexpr uint8_t kAllFields = kDtypeBit | kShapeBit | kOffsetsBit;

absl::Status LimitExceeded(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded, message);
}

}  // namespace

SafetensorsHandler::SafetensorsHandler(const SafetensorsLimits& limits, size_t tensors_hint)
    : limits_(limits) {
  tensors.reserve(tensors_hint);
  ranges.reserve(tensors_hint);
}

absl::Status SafetensorsHandler::StartObject() {
  switch (at_) {
    case At::kStart:
      at_ = At::kRoot;
      return absl::OkStatus();
    case At::kMetadata:
      at_ = At::kMetadataKey;
      return absl::OkStatus();
    case At::kEntry:
      at_ = At::kField;
      is_array_entry_ = false;
      return absl::OkStatus();
    case At::kDtype:
      at_ = At::kVariant;
      return absl::OkStatus();
    case At::kUnknown:
      ++unknown_depth_;
      return absl::OkStatus();
    default:
      return Unexpected("an object");
  }
}

absl::Status SafetensorsHandler::EndObject() {
  switch (at_) {
    case At::kRoot:
      at_ = At::kEnd;
      return absl::OkStatus();
    case At::kMetadataKey:
      at_ = At::kRoot;
      return absl::OkStatus();
    case At::kField:
      return FinishEntry();
    case At::kVariantEnd:
      FinishField(At::kDtype);
      return absl::OkStatus();
    case At::kUnknown:
      --unknown_depth_;
      FinishUnknown();
      return absl::OkStatus();
    default:
      return Unexpected("the end of an object");
  }
}

absl::Status SafetensorsHandler::StartArray() {
  switch (at_) {
    case At::kEntry:
      at_ = At::kDtype;
      is_array_entry_ = true;
      return absl::OkStatus();
    case At::kShape:
      at_ = At::kDimension;
      return absl::OkStatus();
    case At::kOffsets:
      at_ = At::kOffset;
      offsets_count_ = 0;
      return absl::OkStatus();
    case At::kUnknown:
      ++unknown_depth_;
      return absl::OkStatus();
    default:
      return Unexpected("an array");
  }
}

absl::Status SafetensorsHandler::EndArray() {
  switch (at_) {
    case At::kDimension:
      FinishField(At::kShape);
      return absl::OkStatus();
    case At::kOffset:
      if (offsets_count_ != 2) {
        return JsonError(absl::StrCat(Place(), "data_offsets has ", offsets_count_,
                                      " numbers, wanted 2 (begin and end)"));
      }
      FinishField(At::kOffsets);
      return absl::OkStatus();
    case At::kEntryEnd:
      return FinishEntry();
    case At::kUnknown:
      --unknown_depth_;
      FinishUnknown();
      return absl::OkStatus();
    default:
      return Unexpected("the end of an array");
  }
}

absl::Status SafetensorsHandler::Key(absl::string_view key) {
  switch (at_) {
    case At::kRoot:
      return RootKey(key);
    case At::kMetadataKey:
      metadata_key_.assign(key.data(), key.size());
      at_ = At::kMetadataValue;
      return absl::OkStatus();
    case At::kField:
      return FieldKey(key);
    case At::kVariant:
      at_ = At::kVariantValue;
      return SetDtype(key);
    case At::kUnknown:
      return absl::OkStatus();
    default:
      return Unexpected(absl::StrCat("the key ", Quoted(key)));
  }
}

absl::Status SafetensorsHandler::Scalar(const JsonScalar& scalar) {
  using Kind = JsonScalar::Kind;
  if (at_ == At::kUnknown) {
    FinishUnknown();
    return absl::OkStatus();
  }
  if (scalar.kind == Kind::kUnsigned) {
    if (at_ == At::kDimension) return AddDimension(scalar.number);
    if (at_ == At::kOffset) return AddOffset(scalar.number);
  }
  if (scalar.kind == Kind::kString) {
    if (at_ == At::kDtype) {
      FinishField(At::kDtype);
      return SetDtype(scalar.text);
    }
    if (at_ == At::kMetadataValue) {
      // A key that occurs twice: the last one stands, as in the reference reader.
      metadata[metadata_key_].assign(scalar.text.data(), scalar.text.size());
      at_ = At::kMetadataKey;
      return absl::OkStatus();
    }
  }
  if (scalar.kind == Kind::kNull) {
    if (at_ == At::kMetadata) {
      at_ = At::kRoot;
      return absl::OkStatus();
    }
    if (at_ == At::kVariantValue) {
      at_ = At::kVariantEnd;
      return absl::OkStatus();
    }
  }
  return Unexpected(scalar.Describe());
}

absl::Status SafetensorsHandler::RootKey(absl::string_view key) {
  if (key == kMetadataName) {
    at_ = At::kMetadata;
    if (std::exchange(has_metadata_, true)) return JsonError("__metadata__ occurs twice");
    return absl::OkStatus();
  }
  if (key.size() > limits_.name_bytes_max) {
    return LimitExceeded(absl::StrCat("tensor ", Quoted(key), " has a name of ", key.size(),
                                      " bytes, at most ", limits_.name_bytes_max, " are allowed"));
  }
  if (tensors.size() >= limits_.tensors_max) {
    return LimitExceeded(
        absl::StrCat("more tensors than the ", limits_.tensors_max, " that are allowed"));
  }
  tensors.emplace_back().name.assign(key.data(), key.size());
  ranges.emplace_back();
  fields_ = 0;
  at_ = At::kEntry;
  return absl::OkStatus();
}

absl::Status SafetensorsHandler::FieldKey(absl::string_view key) {
  uint8_t bit = 0;
  if (key == "dtype") {
    bit = kDtypeBit;
    at_ = At::kDtype;
  } else if (key == "shape") {
    bit = kShapeBit;
    at_ = At::kShape;
  } else if (key == "data_offsets") {
    bit = kOffsetsBit;
    at_ = At::kOffsets;
  } else {
    unknown_depth_ = 0;
    at_ = At::kUnknown;
    return absl::OkStatus();
  }
  if ((fields_ & bit) != 0) return JsonError(absl::StrCat(Place(), key, " occurs twice"));
  fields_ |= bit;
  return absl::OkStatus();
}

absl::Status SafetensorsHandler::SetDtype(absl::string_view code) {
  // Most writers order tensors by dtype, so it is mostly that of the one before.
  if (code != DtypeName(last_dtype_)) {
    const std::optional<Dtype> dtype = DtypeFromName(code);
    if (!dtype.has_value() || !IsSafetensorsDtype(*dtype)) {
      return JsonError(absl::StrCat(Place(), "unknown dtype ", Quoted(code)));
    }
    last_dtype_ = *dtype;
  }
  tensors.back().dtype = last_dtype_;
  return absl::OkStatus();
}

absl::Status SafetensorsHandler::AddDimension(uint64_t dimension) {
  Shape& shape = tensors.back().shape;
  if (shape.size() >= limits_.rank_max) {
    return LimitExceeded(absl::StrCat(Place(), "shape has more than the ", limits_.rank_max,
                                      " dimensions that are allowed"));
  }
  shape.push_back(dimension);
  return absl::OkStatus();
}

absl::Status SafetensorsHandler::AddOffset(uint64_t offset) {
  if (offsets_count_ == 0) ranges.back().begin = offset;
  if (offsets_count_ == 1) ranges.back().end = offset;
  ++offsets_count_;
  return absl::OkStatus();
}

void SafetensorsHandler::FinishField(At field) {
  if (!is_array_entry_) {
    at_ = At::kField;
  } else if (field == At::kDtype) {
    at_ = At::kShape;
  } else if (field == At::kShape) {
    at_ = At::kOffsets;
  } else {
    at_ = At::kEntryEnd;
  }
}

absl::Status SafetensorsHandler::FinishEntry() {
  if (!is_array_entry_ && fields_ != kAllFields) {
    const absl::string_view missing = (fields_ & kDtypeBit) == 0   ? "dtype"
                                      : (fields_ & kShapeBit) == 0 ? "shape"
                                                                   : "data_offsets";
    return JsonError(absl::StrCat(Place(), "no ", missing));
  }
  at_ = At::kRoot;
  return absl::OkStatus();
}

void SafetensorsHandler::FinishUnknown() {
  if (unknown_depth_ == 0) at_ = At::kField;
}

absl::Status SafetensorsHandler::Unexpected(absl::string_view got) const {
  return JsonError(absl::StrCat(Place(), "found ", got, ", wanted ", Wanted()));
}

std::string SafetensorsHandler::Place() const {
  switch (at_) {
    case At::kStart:
    case At::kRoot:
    case At::kEnd:
      return "";
    case At::kMetadata:
    case At::kMetadataKey:
      return "__metadata__: ";
    case At::kMetadataValue:
      return absl::StrCat("__metadata__: ", Quoted(metadata_key_), ": ");
    default:
      return absl::StrCat("tensor ", Quoted(tensors.back().name), ": ");
  }
}

absl::string_view SafetensorsHandler::Wanted() const {
  switch (at_) {
    case At::kStart:
      return "an object with the tensors";
    case At::kRoot:
    case At::kEnd:
      return "the end";
    case At::kMetadata:
    case At::kMetadataKey:
      return "an object of strings";
    case At::kMetadataValue:
      return "a string";
    case At::kEntry:
    case At::kField:
      return "an object with dtype, shape and data_offsets";
    case At::kDtype:
    case At::kVariant:
      return "a dtype";
    case At::kVariantValue:
    case At::kVariantEnd:
      return "null and the end of the dtype";
    case At::kShape:
      return "shape, an array of integers";
    case At::kOffsets:
      return "data_offsets, an array of two integers";
    case At::kDimension:
      return "a dimension, an integer from 0 to 2^64-1";
    case At::kOffset:
      return "a data offset, an integer from 0 to 2^64-1";
    case At::kEntryEnd:
      return "the end of the entry after dtype, shape and data_offsets";
    case At::kUnknown:
      return "a value";
  }
  return "";
}

}  // namespace weightd
