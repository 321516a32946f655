#include "daemon/config/config_file.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/align.h"
#include "common/status_macros.h"
#include "common/volume_file.h"

namespace weightd {
namespace {

constexpr size_t kFileBytesMax = kMiB;

class Errors final : public google::protobuf::io::ErrorCollector {
 public:
  explicit Errors(std::string name) : name_(std::move(name)) {}

  // The tokenizer counts from 0, and gives -1 where there is no place.
  void AddError(int line, int column, const std::string& message) override {
    if (line < 0) {
      lines_.push_back(absl::StrCat(name_, ": ", message));
    } else {
      lines_.push_back(absl::StrCat(name_, ":", line + 1, ":", column + 1, ": ", message));
    }
  }
  void AddWarning(int line, int column, const std::string& message) override {
    AddError(line, column, message);
  }

  std::string text() const { return absl::StrJoin(lines_, "\n"); }

 private:
  std::string name_;
  std::vector<std::string> lines_;
};

}  // namespace

absl::StatusOr<config::Config> ParseConfig(absl::string_view text, const std::string& name) {
  Errors errors(name);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  config::Config config;
  if (!parser.ParseFromString(std::string(text), &config)) {
    return absl::InvalidArgumentError(errors.text());
  }
  return config;
}

absl::StatusOr<config::Config> ReadConfigFile(const std::string& path) {
  std::string text(kFileBytesMax + 1, '\0');
  ASSIGN_OR_RETURN(const size_t filled, ReadVolumeFile(path, absl::MakeSpan(text),
                                                       absl::StrCat("configuration ", path)));
  if (filled > kFileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("read configuration ", path, ": larger than 1 MiB"));
  }
  text.resize(filled);
  return ParseConfig(text, path);
}

}  // namespace weightd
