#include "daemon/main/man_page.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/man_page.h"
#include "daemon/config/settings.h"
#include "daemon/main/version.h"

namespace weightd {
namespace {

using google::protobuf::FieldDescriptor;

void AddSetting(const std::string& path, const FieldDescriptor& field, ManPage& page) {
  const std::string flag = absl::StrReplaceAll(path, {{"_", "-"}});
  std::string term = absl::StrCat("--", flag, " ", SettingTypeName(field));
  if (field.is_repeated()) absl::StrAppend(&term, " ...");
  page.Term(term, SettingHelp(field));
}

void AddSettings(ManPage& page) {
  std::string group;
  ForEachSetting([&](const std::string& path, const FieldDescriptor& field) {
    const size_t dot = path.find('.');
    const std::string of = dot == std::string::npos ? "" : path.substr(0, dot);
    if (of != group && !of.empty()) page.Subsection(of);
    if (of != group && of.empty()) page.Subsection("general");
    group = of;
    AddSetting(path, field, page);
  });
}

}  // namespace

std::string WeightdManPage() {
  ManPage page("weightd", 8, absl::StrCat("weightd ", kVersion),
               "keep model weights in memory for the inference servers of a node");
  page.Section("SYNOPSIS");
  page.Paragraph("weightd --root DIRECTORY [--config FILE] [SETTING]...");
  page.Section("EXAMPLES");
  page.Lines(kWeightdExamples);
  page.Section("DESCRIPTION");
  page.Paragraph(
      "weightd reads model checkpoints from the directories below its roots into host or GPU "
      "memory, once, and lends them to the processes of the node, which map them. It is asked and "
      "operated with weightctl(1).");
  page.Section("OPTIONS");
  page.Term("--config FILE", kConfigHelp);
  page.Term("--check-config", kCheckConfigHelp);
  page.Term("--help, -h", "Print the settings and exit.");
  page.Term("--version", "Print the version and exit.");
  page.Section("SETTINGS");
  page.Paragraph(
      "Each is a field of the configuration file and a flag that overrides it: --storage.engine "
      "PREAD is storage { engine: PREAD }. A list given by flags replaces the file's list. Sizes "
      "are bytes.");
  AddSettings(page);
  page.Section("SIGNALS");
  page.Term("SIGTERM, SIGINT", "Drain and end; a second one ends it at once.");
  page.Term("SIGHUP", "Read the configuration again, for the settings that say so.");
  page.Section("EXIT STATUS");
  page.Term("0", "After SIGTERM or SIGINT.");
  page.Term("1", "An error, or a second signal.");
  page.Term("2", "The command line or the configuration is wrong.");
  page.Section("SEE ALSO");
  page.Paragraph("weightctl(1)");
  return page.text();
}

}  // namespace weightd
