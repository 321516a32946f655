#include "common/man_page.h"

#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(ManPageTest, WhatLooksLikeAMacroIsText) {
  ManPage page("tool", 1, "tool 1.0", "do it");
  page.Section("OPTIONS");
  page.Term("--file FILE", "a \\ in .it");
  page.Paragraph(".not a macro\n'nor this");
  page.Lines("one\n\ntwo");
  EXPECT_EQ(page.text(),
            ".TH TOOL 1 \"\" \"tool 1.0\" \"weightd\"\n.SH NAME\ntool \\- do it\n.SH OPTIONS\n"
            ".TP\n\\fB\\-\\-file FILE\\fR\na \\e in .it\n"
            ".PP\n\\&.not a macro\n\\(aqnor this\n"
            ".PP\n.RS 4\n.nf\none\n\\&\ntwo\n.fi\n.RE\n");
}

}  // namespace
}  // namespace weightd
