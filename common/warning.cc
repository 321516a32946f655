#include "common/warning.h"

#include <iterator>

namespace weightd {
namespace {

struct Word {
  WarningReason reason;
  absl::string_view word;
};

constexpr Word kWords[] = {
    {WarningReason::kNoGpu, "NO_GPU"},
    {WarningReason::kBuiltWithoutCuda, "BUILT_WITHOUT_CUDA"},
    {WarningReason::kGpuNotUsed, "GPU_NOT_USED"},
    {WarningReason::kStateLost, "STATE_LOST"},
    {WarningReason::kStateNotSaved, "STATE_NOT_SAVED"},
    {WarningReason::kSocketDirOpen, "SOCKET_DIR_OPEN"},
    {WarningReason::kNoIoUring, "NO_IO_URING"},
    {WarningReason::kIoUringFeature, "IO_URING_FEATURE"},
    {WarningReason::kIoUringBuffers, "IO_URING_BUFFERS"},
    {WarningReason::kIoUringFiles, "IO_URING_FILES"},
    {WarningReason::kFewThreads, "FEW_THREADS"},
    {WarningReason::kSmallPages, "SMALL_PAGES"},
    {WarningReason::kHugePagesRefused, "HUGE_PAGES_REFUSED"},
    {WarningReason::kHugePagesTooFew, "HUGE_PAGES_TOO_FEW"},
    {WarningReason::kMemoryLost, "MEMORY_LOST"},
    {WarningReason::kMemoryStaysPinned, "MEMORY_STAYS_PINNED"},
    {WarningReason::kInternal, "INTERNAL"},
};
static_assert(std::size(kWords) == static_cast<size_t>(WarningReason::kInternal) + 1);

}  // namespace

absl::string_view WarningWord(WarningReason reason) {
  for (const Word& word : kWords) {
    if (word.reason == reason) return word.word;
  }
  return "INTERNAL";
}

std::optional<WarningReason> WarningReasonFromWord(absl::string_view word) {
  for (const Word& one : kWords) {
    if (one.word == word) return one.reason;
  }
  return std::nullopt;
}

std::vector<WarningReason> AllWarningReasons() {
  std::vector<WarningReason> reasons;
  for (const Word& word : kWords) reasons.push_back(word.reason);
  return reasons;
}

std::ostream& operator<<(std::ostream& out, const Warning& warning) {
  return out << WarningWord(warning.reason) << ": " << warning.text;
}

}  // namespace weightd
