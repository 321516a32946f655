#ifndef WEIGHTD_COMMON_MAN_PAGE_H_
#define WEIGHTD_COMMON_MAN_PAGE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace weightd {

// A manual page as man(7) macros. Text is escaped. Thread-compatible.
class ManPage {
 public:
  // `name` "weightctl", `section` 1, `version` "weightd 0.1.0".
  ManPage(absl::string_view name, int section, absl::string_view version,
          absl::string_view description);

  void Section(absl::string_view title);     // ".SH"
  void Subsection(absl::string_view title);  // ".SS"
  void Paragraph(absl::string_view text);
  // Lines as they are, indented.
  void Lines(absl::string_view text);
  // A bold term, and what it means behind it.
  void Term(absl::string_view term, absl::string_view meaning);

  const std::string& text() const { return text_; }

 private:
  void AddText(absl::string_view text);
  std::string text_;
};

}  // namespace weightd

#endif  // WEIGHTD_COMMON_MAN_PAGE_H_
