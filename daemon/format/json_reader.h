#ifndef WEIGHTD_DAEMON_FORMAT_JSON_READER_H_
#define WEIGHTD_DAEMON_FORMAT_JSON_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// Strict JSON, token by token: no tree of the text is ever built.
//
// Stricter than the parser beneath: what is not UTF-8, a byte order mark, control characters (NUL,
// which that parser takes for the end, and those that it lets pass in strings), unpaired surrogates
// and numbers beyond the range of a double are refused, integers stay integers, and nesting has a
// limit. That parser also refuses a zero with an exponent above 308, which is valid. Thread-safe.

namespace weightd {

// Levels of objects and arrays in one text, the outermost included; as the reference reader of
// safetensors has it.
inline constexpr uint32_t kJsonDepthMax = 127;

struct JsonScalar {
  enum class Kind {
    kNull,
    kBoolean,
    kUnsigned,  // an integer from 0 to 2^64-1 without sign, fraction or exponent
    kNumber,    // any other number, "-0" and 2^64 included
    kString,
  };
  Kind kind = Kind::kNull;
  uint64_t number = 0;           // of kUnsigned
  absl::string_view text = {};   // of kString, without escapes; of kNumber as written
  std::string Describe() const;  // for messages: `a string "x"`, `the number -1`
};

// Receives the tokens of one text in order. Views and strings are valid during the call only. An
// error ends the reading; JsonError() makes one.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual absl::Status StartObject() = 0;
  virtual absl::Status EndObject() = 0;
  virtual absl::Status StartArray() = 0;
  virtual absl::Status EndArray() = 0;
  virtual absl::Status Key(absl::string_view key) = 0;
  virtual absl::Status Scalar(const JsonScalar& scalar) = 0;
};

// DATA_LOSS/CHECKPOINT_INVALID: the text breaks a rule of its format.
absl::Status JsonError(absl::string_view message);

// Room behind the text that ReadJson needs. A string that has it reserved is not copied.
inline constexpr size_t kJsonPaddingBytes = 16;

struct JsonSource {
  std::string text;          // is overwritten: strings are decoded where they stand
  absl::string_view what;    // what is read, for messages: "header of a.safetensors"
  uint64_t file_offset = 0;  // of `text` in its file, for messages
};

// Reads the whole text. Errors, the handler's included, begin with "read <what> at <offset>: ",
// where the offset is in the file and just behind the token that is wrong.
absl::Status ReadJson(JsonSource source, JsonHandler& handler);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_JSON_READER_H_
