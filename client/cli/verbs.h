#ifndef WEIGHTD_CLIENT_CLI_VERBS_H_
#define WEIGHTD_CLIENT_CLI_VERBS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "client/cli/invocation.h"

// The verbs of weightctl, by group. Each function adds its verbs to the parser; a verb that is
// chosen sets `invocation.run`. `app` and `invocation` outlive the run.

namespace weightd::cli {

// status, stages, version
void AddStatusVerbs(CLI::App& app, Invocation& invocation);
// health
void AddHealthVerb(CLI::App& app, Invocation& invocation);
// doctor
void AddDoctorVerb(CLI::App& app, Invocation& invocation);
// top
void AddTopVerb(CLI::App& app, Invocation& invocation);
// completion
void AddCompletionVerb(CLI::App& app, Invocation& invocation);
// ls, ps, describe, tensors
void AddModelVerbs(CLI::App& app, Invocation& invocation);
// stage, evict, verify, pin, unpin
void AddStageVerbs(CLI::App& app, Invocation& invocation);
// leases, events
void AddLeaseVerbs(CLI::App& app, Invocation& invocation);
// tensorize, untensorize, digest
void AddFileVerbs(CLI::App& app, Invocation& invocation);
// read
void AddReadVerb(CLI::App& app, Invocation& invocation);

// A verb that, when chosen, makes `run` what the invocation does. Its words are in the table of
// verbs (verb_table.h), which must have it.
CLI::App* AddVerb(CLI::App& app, Invocation& invocation, const std::string& name,
                  std::function<absl::Status()> run);

// Of the argument MODEL.
inline constexpr const char* kModelHelp =
    "its name: org/name, org/name@revision, or org/name@generation of what is in memory";

// The name of this build.
std::string ClientVersion();

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_VERBS_H_
