#ifndef WEIGHTD_COMMON_PRINTABLE_TEXT_H_
#define WEIGHTD_COMMON_PRINTABLE_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

// Text of files and clients: what is UTF-8, and how it is shown on a terminal. Thread-safe: pure
// functions.

namespace weightd {

// Bytes of the well-formed character (RFC 3629) at the start of `text`; 0 where there is none.
size_t Utf8CharacterBytes(absl::string_view text);

// Position of the first byte that is not well-formed UTF-8 (RFC 3629: no surrogates, no overlong
// forms, nothing above U+10FFFF), or npos.
size_t FindInvalidUtf8(absl::string_view text);

// `text` with all that commands a terminal, or shows it in another order than it is, as visible
// escapes: control characters below U+0080 and bytes that are no UTF-8 as \xNN; those of
// U+0080-009F, separators of lines and paragraphs, and format characters (marks, embeddings,
// overrides and isolates of direction, joiners, tags) as \u{N}. All other UTF-8 stays.
std::string PrintableText(absl::string_view text);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_PRINTABLE_TEXT_H_
