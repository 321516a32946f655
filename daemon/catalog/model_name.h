#ifndef WEIGHTD_DAEMON_CATALOG_MODEL_NAME_H_
#define WEIGHTD_DAEMON_CATALOG_MODEL_NAME_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Names of models and of the directories that stand for them. Thread-safe: pure functions.

namespace weightd {

inline constexpr size_t kModelNameBytesMax = 512;

// "a/b", or the other one where one is empty.
std::string JoinPath(absl::string_view directory, absl::string_view name);

// Whether a directory or file of this name can be (part of) a model: not hidden, UTF-8 without
// control characters.
bool IsVisibleName(absl::string_view name);
// Whether it is not hidden, and no request could have it: it is not UTF-8, or has a control
// character. What is there is told as a problem, under SpeakableName(name): with escapes, and cut.
bool IsUnspeakableName(absl::string_view name);
std::string SpeakableName(absl::string_view name);
// What is wrong with it, and the fix.
std::string UnspeakableText(absl::string_view name);

// Whether a directory holds one repository of a Hugging Face hub cache.
bool IsHubDirectory(absl::string_view name);
// Whether a directory holds what a hub cache has besides models: "datasets--...", "spaces--...".
bool IsOtherHubDirectory(absl::string_view name);
// "models--org--name" -> "org/name", "models--name" -> "name".
std::string ModelOfHubDirectory(absl::string_view name);

// Those of `names` that somebody who wrote `model` may have meant, the nearest first, at most 3.
// Where they are many and long, not all of them are compared.
std::vector<std::string> NearMisses(absl::string_view model, absl::Span<const std::string> names);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_MODEL_NAME_H_
