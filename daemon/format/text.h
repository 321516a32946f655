#ifndef WEIGHTD_DAEMON_FORMAT_TEXT_H_
#define WEIGHTD_DAEMON_FORMAT_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

// Text that comes from files, made safe for messages. Thread-safe: pure functions.

namespace weightd {

// Position of the first control character (below 0x20) that is neither tab, line feed nor carriage
// return, or npos.
size_t FindControlCharacter(absl::string_view text);

// `text` in double quotes for a message: control characters, quotes and what is not UTF-8 escaped,
// at most 128 bytes of it, with "..." after what was cut.
std::string Quoted(absl::string_view text);

// `text`, which is UTF-8, as a JSON string with its quotes.
std::string JsonString(absl::string_view text);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TEXT_H_
