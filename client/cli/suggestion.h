#ifndef WEIGHTD_CLIENT_CLI_SUGGESTION_H_
#define WEIGHTD_CLIENT_CLI_SUGGESTION_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace weightd::cli {

// The one of `known` that `typed` was probably meant to be: that it begins, or from which it
// differs by the fewest letters added, left out, changed or swapped with a neighbour, two at most
// and fewer than half of them. Empty where nothing is near. Of equals, the first.
std::string Suggestion(absl::string_view typed, absl::Span<const std::string> known);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_SUGGESTION_H_
