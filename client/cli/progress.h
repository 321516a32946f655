#ifndef WEIGHTD_CLIENT_CLI_PROGRESS_H_
#define WEIGHTD_CLIENT_CLI_PROGRESS_H_

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd::cli {

// "queued", "reading" and so on.
std::string PhaseName(v1::StagePhase phase);

// One line for a stage's progress, with a bar of `bar_width` characters once the size is known:
// "llama  reading    [######----]  60 %  9.6 GB of 16.1 GB  2.3 GB/s".
std::string ProgressBar(absl::string_view model, const v1::StageModelResponse& progress,
                        size_t bar_width);

// Shows the progress of one stage: a line that is drawn over on a terminal; elsewhere a line per
// phase and per tenth of the bytes, so that a log stays short. Thread-compatible.
class ProgressPrinter {
 public:
  ProgressPrinter(std::ostream& err, bool is_terminal, std::string model);
  ProgressPrinter(const ProgressPrinter&) = delete;
  ProgressPrinter& operator=(const ProgressPrinter&) = delete;
  // Takes the drawn line away.
  ~ProgressPrinter();

  void Show(const v1::StageModelResponse& progress);

 private:
  void ShowLine(const v1::StageModelResponse& progress);

  std::ostream& err_;
  const bool is_terminal_;
  const std::string model_;
  bool drawn_ = false;
  v1::StagePhase phase_ = v1::STAGE_PHASE_UNSPECIFIED;
  uint64_t tenths_ = 0;
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_PROGRESS_H_
