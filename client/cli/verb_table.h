#ifndef WEIGHTD_CLIENT_CLI_VERB_TABLE_H_
#define WEIGHTD_CLIENT_CLI_VERB_TABLE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// What weightctl can do, in words: the one source of help, man page and completion. Options are
// where they are parsed (verbs.h); those three take them from the parser. Thread-safe.

namespace weightd::cli {

struct Example {
  std::string command;  // "weightctl stage org/llama --wait"
  std::string what;     // what it does, without a full stop
};

struct VerbText {
  std::string name;
  std::string description;  // one line
  std::vector<Example> examples;
  // A paragraph for the man page, what the options do not tell; may be empty.
  std::string details = {};
};

// In the order of the help.
const std::vector<VerbText>& VerbTable();

// Null for a name that is no verb's.
const VerbText* FindVerbText(absl::string_view name);

// Of weightctl as a whole.
const std::vector<Example>& GeneralExamples();

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_VERB_TABLE_H_
