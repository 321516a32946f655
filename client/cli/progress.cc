#include "client/cli/progress.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/text.h"
#include "common/format_units.h"

namespace weightd::cli {
namespace {

constexpr size_t kBarWidth = 30;
constexpr const char* kEraseLine = "\r\x1b[K";

// `parts` times the share that is done, rounded down.
uint64_t Share(const v1::StageModelResponse& progress, uint64_t parts) {
  if (progress.bytes_total() == 0) return 0;
  const double share =
      static_cast<double>(progress.bytes_done()) / static_cast<double>(progress.bytes_total());
  return static_cast<uint64_t>(std::min(share, 1.0) * static_cast<double>(parts));
}

std::string Amounts(const v1::StageModelResponse& progress) {
  std::string text =
      absl::StrCat(FormatBytes(progress.bytes_done()), " of ", FormatBytes(progress.bytes_total()));
  const std::string rate = FormatRate(progress.bytes_per_second());
  if (!rate.empty()) absl::StrAppend(&text, "  ", rate);
  return text;
}

}  // namespace

std::string PhaseName(v1::StagePhase phase) {
  if (phase == v1::STAGE_PHASE_UNSPECIFIED || !v1::StagePhase_IsValid(phase)) return "working";
  return absl::AsciiStrToLower(v1::StagePhase_Name(phase));
}

std::string ProgressBar(absl::string_view model, const v1::StageModelResponse& progress,
                        size_t bar_width) {
  std::string line = absl::StrFormat("%s  %-10s", Printable(model), PhaseName(progress.phase()));
  if (progress.bytes_total() == 0) return std::string(absl::StripTrailingAsciiWhitespace(line));
  const size_t filled = Share(progress, bar_width);
  absl::StrAppendFormat(&line, " [%s%s] %3d %%  %s", std::string(filled, '#'),
                        std::string(bar_width - filled, '-'), Share(progress, 100),
                        Amounts(progress));
  return line;
}

ProgressPrinter::ProgressPrinter(std::ostream& err, bool is_terminal, std::string model)
    : err_(err), is_terminal_(is_terminal), model_(std::move(model)) {}

ProgressPrinter::~ProgressPrinter() {
  if (drawn_) err_ << kEraseLine << std::flush;
}

void ProgressPrinter::Show(const v1::StageModelResponse& progress) {
  if (!is_terminal_) return ShowLine(progress);
  err_ << kEraseLine << ProgressBar(model_, progress, kBarWidth) << std::flush;
  drawn_ = true;
}

void ProgressPrinter::ShowLine(const v1::StageModelResponse& progress) {
  const uint64_t tenths = Share(progress, 10);
  if (progress.phase() == phase_ && tenths == tenths_) return;
  const bool reading = progress.phase() == v1::READING && progress.bytes_total() > 0;
  phase_ = progress.phase();
  tenths_ = tenths;
  err_ << Printable(model_) << ": " << PhaseName(phase_);
  if (reading) err_ << " " << Share(progress, 100) << " %  " << Amounts(progress);
  err_ << std::endl;
}

}  // namespace weightd::cli
