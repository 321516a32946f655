#ifndef WEIGHTD_TESTS_UNIT_FORMAT_PARSE_HEADER_H_
#define WEIGHTD_TESTS_UNIT_FORMAT_PARSE_HEADER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "daemon/format/safetensors.h"

namespace weightd::testing {

// Parses `header` as that of a file m.safetensors with `data_bytes` behind it.
inline absl::StatusOr<ShardHeader> ParseHeader(absl::string_view header, uint64_t data_bytes = 0,
                                               const SafetensorsLimits& limits = {}) {
  return ParseSafetensorsHeader(std::string(header),
                                kSafetensorsPrefixBytes + header.size() + data_bytes,
                                "m.safetensors", limits);
}

// {"w": <entry>}
inline std::string OneTensor(absl::string_view entry) {
  return absl::StrCat(R"({"w":)", entry, "}");
}

// A header whose only tensor has this dtype, shape and end of its data.
inline std::string OneTensor(absl::string_view dtype, absl::string_view shape, uint64_t end) {
  return OneTensor(absl::StrCat(R"({"dtype":")", dtype, R"(","shape":)", shape,
                                R"(,"data_offsets":[0,)", end, "]}"));
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_FORMAT_PARSE_HEADER_H_
