#ifndef WEIGHTD_CLIENT_CLI_COMPLETE_H_
#define WEIGHTD_CLIENT_CLI_COMPLETE_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "client/cli/invocation.h"

// What may stand at the end of a command line. The shells' scripts (completion_scripts.h) ask for
// it with `weightctl __complete -- WORD...`, the last word being the one that is typed.

namespace weightd::cli {

struct Candidate {
  std::string word;
  std::string description = {};
};

struct Completion {
  enum class Files { kNone, kFiles, kDirectories };
  std::vector<Candidate> candidates;
  Files files = Files::kNone;  // the shell adds these itself
};

// What only the daemon knows. `socket_dir` is what the command line says of it, or empty.
struct Asker {
  std::function<std::vector<Candidate>(const std::string& socket_dir, bool resident_only)> models;
  std::function<std::vector<Candidate>(const std::string& socket_dir)> devices;
  std::function<std::vector<Candidate>(const std::string& socket_dir, const std::string& model)>
      tensors;
};

// `words`: those after "weightctl", at least one. `app` has all verbs.
Completion Complete(const CLI::App& app, const std::vector<std::string>& words, const Asker& asker);

// Asks the daemon, if one answers within a third of a second; silent if not.
Asker DaemonAsker(const GlobalOptions& options);

// One candidate a line, a tab and its description behind it; ":files" or ":directories" for those.
std::string CompletionText(const Completion& completion);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_COMPLETE_H_
