#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/file_work.h"
#include "client/cli/json.h"
#include "client/cli/text.h"
#include "client/cli/verbs.h"
#include "common/format_units.h"
#include "common/status_macros.h"
#include "convert/convert.h"

// Verbs that work on files and ask no daemon.

namespace weightd::cli {
namespace {

struct FileArguments {
  std::string from;
  std::string to;
  bool force = false;
  uint64_t alignment = 256;
};

using Convert = absl::StatusOr<ConvertResult> (*)(const std::string& from, const std::string& to,
                                                  const ConvertOptions& options);

// `work` with a result, by RunFileWork().
template <typename T>
absl::StatusOr<T> RunWork(
    Invocation& invocation, const FileArguments& arguments,
    std::function<absl::StatusOr<T>(const FileArguments&, const ConvertOptions&)> work) {
  const auto result = std::make_shared<T>();
  RETURN_IF_ERROR(RunFileWork(
      invocation, arguments.from,
      [result, arguments, work = std::move(work)](const ConvertOptions& hooks) -> absl::Status {
        ConvertOptions options = hooks;
        options.replace = arguments.force;
        options.alignment = arguments.alignment;
        ASSIGN_OR_RETURN(*result, work(arguments, options));
        return absl::OkStatus();
      }));
  return *result;
}

absl::Status RunConvert(Invocation& invocation, const FileArguments& arguments, Convert convert,
                        const std::string& verb) {
  invocation.what = absl::StrCat(verb, " ", arguments.from);
  ASSIGN_OR_RETURN(
      const ConvertResult result,
      RunWork<ConvertResult>(invocation, arguments,
                             [convert](const FileArguments& files, const ConvertOptions& options) {
                               return convert(files.from, files.to, options);
                             }));
  std::ostream& out = invocation.io.out;
  if (invocation.json()) {
    out << JsonDocument({{"file", arguments.to},
                         {"tensors", result.tensors},
                         {"tensor_bytes", result.tensor_bytes},
                         {"file_bytes", result.file_bytes}});
  } else {
    out << Printable(arguments.to) << ": " << Counted(result.tensors, "tensor") << ", "
        << FormatBytes(result.tensor_bytes) << ", file " << FormatBytes(result.file_bytes) << '\n';
  }
  return absl::OkStatus();
}

absl::Status RunDigest(Invocation& invocation, const FileArguments& arguments) {
  invocation.what = absl::StrCat("digest ", arguments.from);
  ASSIGN_OR_RETURN(
      const DigestResult result,
      RunWork<DigestResult>(invocation, arguments,
                            [](const FileArguments& files, const ConvertOptions& options) {
                              return WriteDigests(files.from, files.to, options);
                            }));
  std::ostream& out = invocation.io.out;
  if (invocation.json()) {
    out << JsonDocument({{"file", result.path},
                         {"tensors", result.tensors},
                         {"tensor_bytes", result.tensor_bytes}});
  } else {
    out << Printable(result.path) << ": " << Counted(result.tensors, "tensor") << ", "
        << FormatBytes(result.tensor_bytes) << '\n';
  }
  return absl::OkStatus();
}

}  // namespace

void AddFileVerbs(CLI::App& app, Invocation& invocation) {
  const auto tensorize = std::make_shared<FileArguments>();
  CLI::App* verb = AddVerb(app, invocation, "tensorize", [&invocation, tensorize] {
    return RunConvert(invocation, *tensorize, Tensorize, "tensorize");
  });
  verb->add_option("SRC", tensorize->from, "a weight file, or a directory with a checkpoint")
      ->required();
  verb->add_option("DST", tensorize->to, "the .tensors file")->required();
  verb->add_flag("--force", tensorize->force, "replace DST");
  verb->add_option("--align", tensorize->alignment,
                   "of each tensor's data: a power of two up to 4096; 256 (default) lets weightd "
                   "stage the file as one run, 1 is what the reference writer does")
      ->type_name("BYTES");

  const auto untensorize = std::make_shared<FileArguments>();
  verb = AddVerb(app, invocation, "untensorize", [&invocation, untensorize] {
    return RunConvert(invocation, *untensorize, Untensorize, "untensorize");
  });
  verb->add_option("SRC", untensorize->from, "the .tensors file")->required();
  verb->add_option("DST", untensorize->to, "the safetensors file")->required();
  verb->add_flag("--force", untensorize->force, "replace DST");

  const auto digest = std::make_shared<FileArguments>();
  verb = AddVerb(app, invocation, "digest",
                 [&invocation, digest] { return RunDigest(invocation, *digest); });
  verb->add_option("SRC", digest->from, "a weight file, or a directory with a checkpoint")
      ->required();
  verb->add_option("--to", digest->to, "the file; default: beside SRC, where weightd looks for it")
      ->type_name("FILE");
  verb->add_flag("--force", digest->force, "replace the file");
}

}  // namespace weightd::cli
