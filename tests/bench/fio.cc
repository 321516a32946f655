#include "tests/bench/fio.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "tests/support/process/child_process.h"

namespace weightd::bench {
namespace {

constexpr absl::Duration kFioPatience = absl::Minutes(10);
// The files' ends are no whole blocks, and fio leaves them out.
constexpr double kBytesReadMin = 0.9;

absl::StatusOr<std::string> FioProgram() {
  const char* path = std::getenv("PATH");
  for (const absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':')) {
    std::string program = absl::StrCat(folder, "/fio");
    if (::access(program.c_str(), X_OK) == 0) return program;
  }
  return absl::NotFoundError("fio is not installed: apt-get install fio");
}

absl::StatusOr<std::string> Output(const std::vector<std::string>& argv) {
  testing::ChildProcess child({.argv = argv});
  const std::optional<int> exit = child.WaitForExit(kFioPatience);
  if (exit == 0) return child.out();
  return absl::UnavailableError(absl::StrCat(absl::StrJoin(argv, " "), ": exit status ",
                                             exit.value_or(-1), ": ", child.err(), child.out()));
}

absl::StatusOr<Sample> ParseFio(const std::string& output, uint64_t wanted_bytes) {
  // Notes may stand before it.
  const size_t start = output.find('{');
  const auto json = nlohmann::json::parse(output.substr(start == std::string::npos ? 0 : start),
                                          nullptr, /*allow_exceptions=*/false);
  const nlohmann::json::json_pointer read("/jobs/0/read");
  if (json.is_discarded() || !json.contains(read)) {
    return absl::InternalError(absl::StrCat("fio: not its JSON: ", output));
  }
  Sample sample;
  sample.bytes = json[read].value("io_bytes", uint64_t{0});
  sample.seconds = json[read].value("runtime", 0.0) / 1000;  // milliseconds
  if (json["/jobs/0/error"_json_pointer] != 0 || sample.seconds <= 0 ||
      static_cast<double>(sample.bytes) < kBytesReadMin * static_cast<double>(wanted_bytes)) {
    return absl::InternalError(absl::StrCat("fio: read ", sample.bytes, " of ", wanted_bytes,
                                            " bytes in ", sample.seconds, " s"));
  }
  return sample;
}

}  // namespace

absl::StatusOr<std::string> FioVersion() {
  ASSIGN_OR_RETURN(const std::string program, FioProgram());
  ASSIGN_OR_RETURN(const std::string output, Output({program, "--version"}));
  return std::string(absl::StripAsciiWhitespace(output));
}

std::vector<std::string> FioArguments(const FileSet& files, const FioOptions& options) {
  std::vector<std::string> paths = files.paths();
  for (std::string& path : paths) path = absl::StrReplaceAll(path, {{":", "\\:"}});
  std::vector<std::string> arguments = {"--name=ceiling",
                                        absl::StrCat("--filename=", absl::StrJoin(paths, ":")),
                                        "--file_service_type=sequential",
                                        "--rw=read",
                                        "--readonly",
                                        "--direct=1",
                                        absl::StrCat("--bs=", options.block_bytes),
                                        absl::StrCat("--iodepth=", options.depth),
                                        "--iomem=shmhuge",
                                        "--output-format=json"};
  if (options.engine == FioEngine::kUring) {
    arguments.insert(arguments.end(), {"--ioengine=io_uring", "--fixedbufs=1"});
  } else {
    arguments.emplace_back("--ioengine=libaio");
  }
  return arguments;
}

absl::StatusOr<Sample> RunFio(const FileSet& files, const FioOptions& options) {
  ASSIGN_OR_RETURN(const std::string program, FioProgram());
  std::vector<std::string> argv = FioArguments(files, options);
  argv.insert(argv.begin(), program);
  const double cpu_start = CpuSeconds(RUSAGE_CHILDREN);
  ASSIGN_OR_RETURN(const std::string output, Output(argv));
  ASSIGN_OR_RETURN(Sample sample, ParseFio(output, files.bytes));
  sample.cpu_seconds = CpuSeconds(RUSAGE_CHILDREN) - cpu_start;
  return sample;
}

}  // namespace weightd::bench
