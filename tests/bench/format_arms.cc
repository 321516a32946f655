#include "tests/bench/format_arms.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "convert/convert.h"
#include "daemon/device/host_memory.h"
#include "tests/bench/null_device.h"
#include "tests/support/process/child_process.h"

namespace weightd::bench {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(10);
// Staging buffers of all our stagers, and what alignment takes.
constexpr uint64_t kStagingBytes = 384 * kMiB;

absl::StatusOr<FileSet> MakeTensors(const FileSet& source, const std::string& suffix,
                                    uint64_t alignment) {
  const std::string from = source.paths().front();
  FileSet files = {.folder = source.folder, .names = {}, .bytes = 0};
  files.names.push_back(
      absl::StrCat(absl::StripSuffix(source.names.front(), ".safetensors"), suffix, ".tensors"));
  const std::string to = files.paths().front();
  std::error_code error;
  if (!std::filesystem::exists(to, error)) {
    RETURN_IF_ERROR(Tensorize(from, to, {.alignment = alignment}).status());
  }
  files.bytes = std::filesystem::file_size(to, error);
  if (error) return PosixError(error.value(), absl::StrCat("size of ", to));
  return files;
}

absl::StatusOr<std::string> RunReader(const std::string& python,
                                      const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {python, WEIGHTD_TENSORIZER_READER};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  testing::ChildProcess child({.argv = argv});
  const std::optional<int> exit = child.WaitForExit(kPatience);
  if (exit == 0) return child.out();
  return absl::UnavailableError(absl::StrCat(absl::StrJoin(argv, " "), ": exit status ",
                                             exit.value_or(-1), ": ",
                                             std::string(absl::StripAsciiWhitespace(child.err()))));
}

absl::StatusOr<Sample> TimeTensorizer(const std::string& python, const FileSet& files,
                                      bool verify) {
  std::vector<std::string> arguments = files.paths();
  if (verify) arguments.insert(arguments.begin(), "--verify");
  ASSIGN_OR_RETURN(const std::string output, RunReader(python, arguments));
  const auto json = nlohmann::json::parse(output, nullptr, /*allow_exceptions=*/false);
  Sample sample;
  if (json.is_object()) {
    sample.seconds = json.value("seconds", 0.0);
    sample.cpu_seconds = json.value("cpu_seconds", 0.0);
    sample.bytes = json.value("bytes", uint64_t{0});
  }
  // Headers and index are what it leaves out.
  if (sample.seconds <= 0 || sample.bytes < files.bytes / 10 * 9) {
    return absl::InternalError(absl::StrCat("tensorizer_reader.py printed ", output));
  }
  return sample;
}

}  // namespace

absl::StatusOr<FormatFiles> MakeFormatFiles(const std::string& folder, uint64_t bytes) {
  FormatFiles files;
  ASSIGN_OR_RETURN(files.safetensors, MakeShards(folder, bytes, 1));
  ASSIGN_OR_RETURN(files.tensors, MakeTensors(files.safetensors, "", 1));
  ASSIGN_OR_RETURN(files.aligned, MakeTensors(files.safetensors, "-aligned", 256));
  return files;
}

absl::StatusOr<std::string> TensorizerVersion(const std::string& python) {
  if (python.empty()) {
    return absl::NotFoundError(
        "no Python with tensorizer: --python build/venv-torch/bin/python, which tests/run.sh "
        "makes");
  }
  ASSIGN_OR_RETURN(const std::string text, RunReader(python, {"--version"}));
  return std::string(absl::StripAsciiWhitespace(text));
}

FormatArms::FormatArms(const std::set<std::string>& wanted, const FormatFiles& files,
                       std::string python, HugePageReserve& huge_pages)
    : files_(files),
      python_(std::move(python)),
      null_device_(CreateNullDevice()),
      small_host_device_(CreateHostDevice({.huge_pages = HostDeviceOptions::HugePages::kOff})) {
  uint64_t huge_bytes = kStagingBytes;
  for (const std::string& name : wanted) {
    if (absl::StrContains(name, "_host"))
      huge_bytes = kStagingBytes + files.tensors.bytes + kGiB / 8;
  }
  reserved_ = huge_pages.Reserve(huge_bytes);
  host_device_ = CreateHostDevice({});  // it warns of what it lacks when it is made
  for (const std::string& name : wanted) {
    if (absl::Status status = Prepare(name); !status.ok()) refused_[name] = std::move(status);
  }
}

FormatArms::~FormatArms() = default;

std::vector<std::string> FormatArms::fallbacks() const {
  std::set<std::string> all;
  for (const auto& [device, stager] : stagers_) AddFallbacks(*stager, all);
  for (const Warning& warning : host_device_->warnings()) all.insert(warning.text);
  return {all.begin(), all.end()};
}

absl::StatusOr<Stager*> FormatArms::StagerFor(Device& device) {
  std::unique_ptr<Stager>& stager = stagers_[&device];
  if (stager != nullptr) return stager.get();
  auto made = CreateStager({}, device);
  if (!made.ok()) {
    stagers_.erase(&device);
    return made.status();
  }
  stager = *std::move(made);
  return stager.get();
}

absl::Status FormatArms::Prepare(const std::string& name) {
  return absl::StartsWith(name, "tensorizer") ? PrepareTensorizer(name) : PrepareStage(name);
}

absl::Status FormatArms::PrepareTensorizer(const std::string& name) {
  RETURN_IF_ERROR(TensorizerVersion(python_).status());
  const bool verify = name == "tensorizer_verify";
  arms_.push_back(
      {.name = name, .files = &files_.tensors, .cache = CacheState::kCold, .run = [this, verify] {
         return TimeTensorizer(python_, files_.tensors, verify);
       }});
  return absl::OkStatus();
}

absl::Status FormatArms::PrepareStage(const std::string& name) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(name, absl::MaxSplits('_', 1));
  const FileSet& files = parts.first == "safetensors" ? files_.safetensors
                         : parts.first == "aligned"   ? files_.aligned
                                                      : files_.tensors;
  StageSetup setup = {.device = null_device_.get(), .expected = ForcedMode::kDirect};
  setup.verify = absl::EndsWith(name, "_full")   ? VerifyMode::kFull
                 : absl::EndsWith(name, "_none") ? VerifyMode::kNone
                                                 : VerifyMode::kFast;
  if (absl::StartsWith(parts.second, "host")) {
    RETURN_IF_ERROR(reserved_);
    setup.device = host_device_.get();
  } else if (parts.second == "small") {
    setup.device = small_host_device_.get();
  }
  ASSIGN_OR_RETURN(setup.stager, StagerFor(*setup.device));
  arms_.push_back({.name = name,
                   .files = &files,
                   .cache = CacheState::kCold,
                   .run = [&files, setup]() -> absl::StatusOr<Sample> {
                     ASSIGN_OR_RETURN(const StageResult result, TimeStage(files, setup));
                     return result.sample;
                   }});
  return absl::OkStatus();
}

}  // namespace weightd::bench
