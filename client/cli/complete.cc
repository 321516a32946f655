#include "client/cli/complete.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/cli/daemon.h"
#include "client/cli/help.h"
#include "client/cli/text.h"
#include "common/format_units.h"
#include "common/socket_paths.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

constexpr absl::Duration kAnswerTime = absl::Milliseconds(300);
constexpr uint32_t kTensorsMax = 5000;

// What a command line says up to the word that is typed.
struct Position {
  const CLI::App* verb = nullptr;
  bool verb_unknown = false;
  const CLI::Option* pending = nullptr;  // the typed word is its value
  bool options_ended = false;            // by "--"
  std::vector<std::string> arguments;    // of the verb
  std::string socket_dir;
};

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() != 0; }

bool HasName(const CLI::Option& option, absl::string_view word) {
  const auto is_word = [word](absl::string_view dashes) {
    return [word, dashes](const std::string& name) { return absl::StrCat(dashes, name) == word; };
  };
  const auto& longs = option.get_lnames();
  const auto& shorts = option.get_snames();
  return std::any_of(longs.begin(), longs.end(), is_word("--")) ||
         std::any_of(shorts.begin(), shorts.end(), is_word("-"));
}

// Options of the verb and those of every verb.
std::vector<const CLI::Option*> OptionsAt(const CLI::App& app, const Position& at) {
  std::vector<const CLI::Option*> options;
  for (const CLI::App* place : {at.verb, &app}) {
    if (place == nullptr) continue;
    for (const CLI::Option* option : place->get_options()) {
      if (option->nonpositional() && !option->get_group().empty()) options.push_back(option);
    }
  }
  return options;
}

const CLI::Option* FindOption(const CLI::App& app, const Position& at, absl::string_view word) {
  for (const CLI::Option* option : OptionsAt(app, at)) {
    if (HasName(*option, word)) return option;
  }
  return nullptr;
}

void TakeValue(const CLI::Option& option, absl::string_view value, Position& at) {
  if (HasName(option, "--socket-dir")) at.socket_dir = std::string(value);
}

void TakeWord(const CLI::App& app, const std::string& word, Position& at) {
  if (at.pending != nullptr) {
    if (word == "=") return;  // bash makes three words of --output=json
    TakeValue(*at.pending, word, at);
    at.pending = nullptr;
  } else if (word == "--") {
    at.options_ended = true;
  } else if (absl::StartsWith(word, "-") && !at.options_ended) {
    const size_t equals = word.find('=');
    const CLI::Option* option = FindOption(app, at, word.substr(0, equals));
    if (option == nullptr || !TakesValue(*option)) return;
    if (equals == std::string::npos) {
      at.pending = option;
    } else {
      TakeValue(*option, word.substr(equals + 1), at);
    }
  } else if (at.verb == nullptr) {
    at.verb = FindVerb(app, word);
    at.verb_unknown = at.verb == nullptr;
  } else {
    at.arguments.push_back(word);
  }
}

std::vector<Candidate> Words(std::initializer_list<const char*> words) {
  std::vector<Candidate> candidates;
  for (const char* word : words) candidates.push_back({word});
  return candidates;
}

// Verbs for what is in memory only.
bool WantsResident(const CLI::App* verb) {
  static const auto* const verbs = new std::set<std::string>{"evict", "verify", "pin", "unpin"};
  return verb != nullptr && verbs->count(verb->get_name()) > 0;
}

// `kind` is how help names the value: MODEL, DEVICE, FILE.
Completion ValuesOf(const std::string& kind, const Position& at, const Asker& asker) {
  if (kind == "FORMAT") return {.candidates = Words({"table", "json"})};
  if (kind == "MODE") return {.candidates = Words({"none", "fast", "full"})};
  if (kind == "SHELL") return {.candidates = Words({"bash", "zsh", "fish"})};
  if (kind == "DIR") return {.candidates = {}, .files = Completion::Files::kDirectories};
  if (kind == "FILE" || kind == "SRC" || kind == "DST") {
    return {.candidates = {}, .files = Completion::Files::kFiles};
  }
  if (kind == "DEVICE") return {.candidates = asker.devices(at.socket_dir)};
  if (kind == "MODEL") return {.candidates = asker.models(at.socket_dir, WantsResident(at.verb))};
  if (kind == "TENSOR" && !at.arguments.empty()) {
    return {.candidates = asker.tensors(at.socket_dir, at.arguments.front())};
  }
  return {};
}

Completion OptionNames(const CLI::App& app, const Position& at) {
  Completion completion;
  for (const CLI::Option* option : OptionsAt(app, at)) {
    for (const std::string& name : option->get_lnames()) {
      completion.candidates.push_back({absl::StrCat("--", name), option->get_description()});
    }
    for (const std::string& name : option->get_snames()) {
      completion.candidates.push_back({absl::StrCat("-", name), option->get_description()});
    }
  }
  return completion;
}

Completion VerbNames(const CLI::App& app) {
  Completion completion;
  for (const CLI::App* verb : app.get_subcommands({})) {
    completion.candidates.push_back({verb->get_name(), verb->get_description()});
  }
  return completion;
}

Completion NextArgument(const Position& at, const Asker& asker) {
  size_t left = at.arguments.size();
  for (const CLI::Option* option : at.verb->get_options()) {
    if (!option->get_positional()) continue;
    if (left-- == 0) return ValuesOf(ValueName(*option), at, asker);
  }
  return {};
}

void KeepStartingWith(absl::string_view typed, Completion& completion) {
  std::erase_if(completion.candidates, [typed](const Candidate& candidate) {
    return !absl::StartsWith(candidate.word, typed);
  });
}

absl::StatusOr<Daemon> QuickDaemon(GlobalOptions options, const std::string& socket_dir) {
  if (!socket_dir.empty()) options.socket_dir = socket_dir;
  SetSocketDir(ResolveSocketDir(options.socket_dir), options);
  options.timeout = kAnswerTime;
  return Daemon::Connect(options);
}

absl::StatusOr<std::vector<Candidate>> AskModels(const Daemon& daemon, bool resident_only) {
  v1::ListModelsRequest request;
  request.set_resident_only(resident_only);
  ASSIGN_OR_RETURN(const v1::ListModelsResponse response,
                   daemon.CallPaged(&v1::WeightCache::Stub::ListModels, request));
  std::vector<Candidate> models;
  for (const v1::Model& model : response.models()) {
    models.push_back({model.name(), FormatBytes(model.file_bytes())});
  }
  return models;
}

absl::StatusOr<std::vector<Candidate>> AskDevices(const Daemon& daemon) {
  ASSIGN_OR_RETURN(const v1::GetStatusResponse status,
                   daemon.Call(&v1::WeightCache::Stub::GetStatus, v1::GetStatusRequest()));
  std::vector<Candidate> devices;
  for (const v1::Device& device : status.devices()) devices.push_back({device.id(), device.name()});
  return devices;
}

absl::StatusOr<std::vector<Candidate>> AskTensors(const Daemon& daemon, const std::string& model) {
  v1::GetModelRequest request;
  request.set_model(model);
  request.set_page_size(kTensorsMax);
  ASSIGN_OR_RETURN(const v1::GetModelResponse response,
                   daemon.Call(&v1::WeightCache::Stub::GetModel, request));
  std::vector<Candidate> tensors;
  for (const v1::Tensor& tensor : response.tensors()) {
    tensors.push_back({tensor.name(), FormatBytes(tensor.bytes())});
  }
  return tensors;
}

}  // namespace

Completion Complete(const CLI::App& app, const std::vector<std::string>& words,
                    const Asker& asker) {
  Position at;
  for (size_t i = 0; i + 1 < words.size(); ++i) TakeWord(app, words[i], at);
  std::string typed = words.empty() ? "" : words.back();
  if (at.verb_unknown) return {};
  Completion completion;
  const size_t equals = typed.find('=');
  if (at.pending != nullptr) {
    if (typed == "=") typed.clear();
    completion = ValuesOf(ValueName(*at.pending), at, asker);
  } else if (absl::StartsWith(typed, "--") && equals != std::string::npos) {
    const CLI::Option* option = FindOption(app, at, typed.substr(0, equals));
    if (option == nullptr) return {};
    completion = ValuesOf(ValueName(*option), at, asker);
    for (Candidate& candidate : completion.candidates) {
      candidate.word = absl::StrCat(typed.substr(0, equals + 1), candidate.word);
    }
  } else if (absl::StartsWith(typed, "-") && !at.options_ended) {
    completion = OptionNames(app, at);
  } else if (at.verb == nullptr) {
    completion = VerbNames(app);
  } else {
    completion = NextArgument(at, asker);
  }
  KeepStartingWith(typed, completion);
  return completion;
}

Asker DaemonAsker(const GlobalOptions& options) {
  const auto ask = [options](const std::string& socket_dir, const auto& question) {
    const absl::StatusOr<Daemon> daemon = QuickDaemon(options, socket_dir);
    if (!daemon.ok()) return std::vector<Candidate>();
    return question(*daemon).value_or(std::vector<Candidate>());
  };
  return {
      .models =
          [ask](const std::string& socket_dir, bool resident_only) {
            return ask(socket_dir,
                       [&](const Daemon& daemon) { return AskModels(daemon, resident_only); });
          },
      .devices = [ask](const std::string& socket_dir) { return ask(socket_dir, AskDevices); },
      .tensors =
          [ask](const std::string& socket_dir, const std::string& model) {
            return ask(socket_dir, [&](const Daemon& daemon) { return AskTensors(daemon, model); });
          },
  };
}

std::string CompletionText(const Completion& completion) {
  std::string text;
  for (const Candidate& candidate : completion.candidates) {
    // A name that has a line break would pass for two.
    absl::StrAppend(&text, Printable(candidate.word));
    if (!candidate.description.empty()) {
      absl::StrAppend(&text, "\t", Printable(candidate.description));
    }
    absl::StrAppend(&text, "\n");
  }
  if (completion.files == Completion::Files::kFiles) absl::StrAppend(&text, ":files\n");
  if (completion.files == Completion::Files::kDirectories) absl::StrAppend(&text, ":directories\n");
  return text;
}

}  // namespace weightd::cli
