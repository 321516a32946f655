#ifndef WEIGHTD_DAEMON_CATALOG_MODEL_REF_H_
#define WEIGHTD_DAEMON_CATALOG_MODEL_REF_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// How a request names a model: `name`, `name@generation` or `name@revision`. Pure functions.

namespace weightd {

struct ModelRef {
  std::string model;
  // Of what is in memory.
  std::optional<uint64_t> generation = {};
  // Of a hub cache: a commit or the beginning of one, or a name below refs/. Empty for what the
  // volume calls current.
  std::string revision = {};

  friend bool operator==(const ModelRef&, const ModelRef&) = default;
};

// What follows '@' is a generation when it is a number of less than 40 digits, and else a revision:
// a commit has 40. Errors are those of ValidateModelName, and INVALID_ARGUMENT/INVALID_REQUEST for
// a generation that is no id and for a revision that cannot be one.
absl::StatusOr<ModelRef> ParseModelRef(absl::string_view text);

std::string ToString(const ModelRef& ref);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_MODEL_REF_H_
