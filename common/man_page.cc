#include "common/man_page.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace weightd {
namespace {

// Of one line: what groff would take for more than text.
std::string Escaped(absl::string_view line) {
  std::string safe = absl::StrReplaceAll(line, {{"\\", "\\e"},
                                                {"-", "\\-"},
                                                {"'", "\\(aq"},
                                                {"\"", "\\(dq"},
                                                {"^", "\\(ha"},
                                                {"~", "\\(ti"},
                                                {"`", "\\(ga"}});
  if (absl::StartsWith(safe, ".")) safe.insert(0, "\\&");
  return safe;
}

}  // namespace

ManPage::ManPage(absl::string_view name, int section, absl::string_view version,
                 absl::string_view description) {
  // Without a date: the same source makes the same page.
  text_ = absl::StrCat(".TH ", absl::AsciiStrToUpper(name), " ", section, " \"\" \"",
                       Escaped(version), "\" \"weightd\"\n.SH NAME\n", Escaped(name), " \\- ",
                       Escaped(description), "\n");
}

void ManPage::Section(absl::string_view title) {
  absl::StrAppend(&text_, ".SH ", Escaped(title), "\n");
}

void ManPage::Subsection(absl::string_view title) {
  absl::StrAppend(&text_, ".SS ", Escaped(title), "\n");
}

void ManPage::Paragraph(absl::string_view text) {
  absl::StrAppend(&text_, ".PP\n");
  AddText(text);
}

void ManPage::Lines(absl::string_view text) {
  absl::StrAppend(&text_, ".PP\n.RS 4\n.nf\n");
  AddText(text);
  absl::StrAppend(&text_, ".fi\n.RE\n");
}

void ManPage::Term(absl::string_view term, absl::string_view meaning) {
  absl::StrAppend(&text_, ".TP\n\\fB", Escaped(term), "\\fR\n");
  AddText(meaning.empty() ? " " : meaning);
}

void ManPage::AddText(absl::string_view text) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::StrAppend(&text_, line.empty() ? "\\&" : Escaped(line), "\n");
  }
}

}  // namespace weightd
