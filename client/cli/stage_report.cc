#include "client/cli/stage_report.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/text.h"
#include "common/format_units.h"

namespace weightd::cli {
namespace {

std::string TimeText(const google::protobuf::Duration& time) {
  const double seconds =
      static_cast<double>(time.seconds()) + static_cast<double>(time.nanos()) / 1e9;
  return seconds < 1 ? absl::StrFormat("%.0f ms", seconds * 1000)
                     : absl::StrFormat("%.1f s", seconds);
}

}  // namespace

std::string ModesText(const v1::StageReport& report) {
  std::vector<std::string> modes;
  const auto add = [&](uint64_t bytes, absl::string_view how) {
    if (bytes > 0) modes.push_back(absl::StrCat(FormatBytes(bytes), " ", how));
  };
  add(report.direct_bytes(), "direct");
  add(report.cached_bytes(), "out of the page cache");
  add(report.buffered_bytes(), "through the page cache");
  add(report.copied_bytes(), absl::StrCat("from ", Printable(report.source())));
  return absl::StrJoin(modes, ", ");
}

std::string VerifyText(const v1::StageReport& report) {
  if (report.verify() == v1::VERIFY_MODE_UNSPECIFIED) return "";
  std::string text = v1::VerifyMode_Name(report.verify());
  if (report.hashes_checked() > 0) {
    absl::StrAppend(&text, ", hashes of tensors: ", report.hashes_checked());
  }
  if (report.files_checked() > 0) {
    absl::StrAppend(&text, ", SHA-256s of files: ", report.files_checked());
  }
  if (!report.digest_manifest().empty()) {
    absl::StrAppend(&text, ", ", Printable(report.digest_manifest()));
  }
  return text;
}

std::string PhasesText(const v1::StageReport& report) {
  return absl::StrCat("plan ", TimeText(report.plan_time()), ", read ",
                      TimeText(report.read_time()), ", copy ", TimeText(report.copy_time()),
                      ", verify ", TimeText(report.verify_time()), ", publish ",
                      TimeText(report.publish_time()));
}

}  // namespace weightd::cli
