#include "client/cli/verb_table.h"

namespace weightd::cli {
namespace {

std::vector<VerbText> LookingVerbs() {
  return {
      {"ls",
       "Models on the volume, and where they are in memory",
       {{"weightctl ls", "all of them"},
        {"weightctl ls -o json | jq -r '.models[].name'", "their names alone"}}},
      {"ps",
       "Models in memory, one row per copy",
       {{"weightctl ps", "what is resident or being staged now"},
        {"weightctl ps --watch", "again after each change"}}},
      {"describe",
       "One model: files, metadata, copies and how they were staged",
       {{"weightctl describe org/llama", "also where it is not resident"}}},
      {"tensors",
       "The tensors of a model",
       {{"weightctl tensors org/llama", "names, shapes and digests"},
        {"weightctl tensors org/llama -o json", "the same for programs"}}},
      {"leases",
       "Who holds which model",
       {{"weightctl leases", "every lease"},
        {"weightctl leases org/llama --watch", "of one model, again every two seconds"}}},
      {"events",
       "What happens in the daemon, as it happens",
       {{"weightctl events", "until it is interrupted"},
        {"weightctl events --replay 50 --count 50", "the last 50"},
        {"weightctl events -o json", "one line of JSON for each"}}},
      {"status",
       "How the daemon is: version, storage, devices and budgets",
       {{"weightctl status", "with what it has to do without"},
        {"weightctl status -o json | jq '.devices[] | {id, used_bytes, budget_bytes}'",
         "memory by device"}}},
      {"stages",
       "How the last 32 stages went: rate, engine, phases, errors",
       {{"weightctl stages", "the newest first, failed ones too"}}},
      {"top",
       "Live: memory by device, rate of each stage, leases by model",
       {{"weightctl top", "until Ctrl-C"},
        {"weightctl top --once", "one look"},
        {"weightctl top --interval 5s -o json", "a line of JSON every five seconds"}},
       "On a terminal it draws over itself; elsewhere it prints one look after the other. The rate "
       "of a stage is that since the look before; in the first look, since reading began."},
  };
}

std::vector<VerbText> OperatingVerbs() {
  return {
      {"stage",
       "Bring a model into memory",
       {{"weightctl stage org/llama --wait", "with progress, until it is resident"},
        {"weightctl stage org/llama --pin", "in the background, and keep it"},
        {"weightctl stage org/llama --device GPU-1 --device GPU-2", "read once, for both"},
        {"weightctl stage org/llama --bandwidth 500MB", "leave the volume to others"}}},
      {"evict",
       "Give a model's memory back",
       {{"weightctl evict org/llama", "from everywhere, if nobody holds it"},
        {"weightctl evict org/llama --device GPU-1", "keep it in the host tier, if it fits"},
        {"weightctl evict org/llama --force --grace 30s", "from those who hold it, too"}}},
      {"verify",
       "Read what is resident again, and compare it with what was staged",
       {{"weightctl verify org/llama", "exit code 7 if bytes differ"},
        {"weightctl verify org/llama --bandwidth 1GiB", "gently"}}},
      {"pin",
       "Keep a resident model in memory",
       {{"weightctl pin org/llama", "it is not evicted to make room, nor lost over a restart"}}},
      {"unpin",
       "Take a pin back",
       {{"weightctl unpin org/llama", "it may go when room is needed"}}},
      {"read",
       "Attach as a client does and write a tensor's raw bytes to stdout",
       {{"weightctl read org/llama lm_head.weight | xxhsum -H2", "compare with `tensors`"},
        {"weightctl read org/llama lm_head.weight --wait > t.bin", "stage it first, if need be"}}},
  };
}

std::vector<VerbText> HealthVerbs() {
  return {
      {"health",
       "Whether the daemon serves; exit code 0 if so",
       {{"weightctl health", "for a liveness or readiness probe"},
        {"weightctl health --wait 30s", "wait until it serves"},
        {"weightctl health --staged", "for a startup probe: and all that `preload` names is there"},
        {"weightctl health --staged --wait 10m", "wait for the models, too"}},
       "With --staged the exit code is 4 until every model of the daemon's `preload` setting is "
       "resident on the default device, and the message says how far each of the others is, or why "
       "it failed."},
      {"doctor",
       "What keeps the daemon, or you, from working well, and how to mend it",
       {{"weightctl doctor", "every check: pass, warn or fail"},
        {"weightctl doctor --no-reads", "without measuring how fast the roots are"},
        {"weightctl doctor -o json | jq '.checks[] | select(.result != \"pass\")'",
         "what is not as it should be"}},
       "Checks that only the daemon can make need one that answers; without it the checks of the "
       "caller's side are made all the same. To tell how fast a root is it has the daemon read the "
       "largest file there, at most 256 MiB in 2 s: that, and the allow-lists, take the right to "
       "operate. The exit code is 1 if a check fails; warnings do not count."},
      {"version",
       "Version of weightctl and, if it answers, of the daemon",
       {{"weightctl version", "of both"}}},
  };
}

std::vector<VerbText> OtherVerbs() {
  return {
      {"tensorize",
       "Write a .tensors file from a checkpoint; no daemon is asked",
       {{"weightctl tensorize /models/org/llama llama.tensors", "from a directory's checkpoint"}}},
      {"untensorize",
       "Write a safetensors file from a .tensors file; no daemon is asked",
       {{"weightctl untensorize llama.tensors llama.safetensors", "and back"}}},
      {"digest",
       "Write the digest manifest of a checkpoint, which stages are compared with; no daemon is "
       "asked",
       {{"weightctl digest /models/org/llama", "beside it, where weightd looks for it"}}},
      {"completion",
       "Completion of command lines for a shell, as a script",
       {{"source <(weightctl completion bash)", "bash, in this shell"},
        {"weightctl completion bash > /etc/bash_completion.d/weightctl", "bash, for everybody"},
        {"weightctl completion zsh > ~/.zfunc/_weightctl", "zsh, with ~/.zfunc in fpath"},
        {"weightctl completion fish > ~/.config/fish/completions/weightctl.fish", "fish"}},
       "Models and devices are those that the daemon names; where none answers within a third of a "
       "second, none are proposed."},
  };
}

std::vector<VerbText> MakeTable() {
  std::vector<VerbText> table;
  for (std::vector<VerbText>& part : std::vector<std::vector<VerbText>>{
           LookingVerbs(), OperatingVerbs(), HealthVerbs(), OtherVerbs()}) {
    table.insert(table.end(), part.begin(), part.end());
  }
  return table;
}

}  // namespace

const std::vector<VerbText>& VerbTable() {
  static const auto* const table = new std::vector<VerbText>(MakeTable());
  return *table;
}

const VerbText* FindVerbText(absl::string_view name) {
  for (const VerbText& verb : VerbTable()) {
    if (verb.name == name) return &verb;
  }
  return nullptr;
}

const std::vector<Example>& GeneralExamples() {
  static const auto* const examples = new std::vector<Example>{
      {"weightctl ls", "models on the volume, and where they are in memory"},
      {"weightctl stage org/llama --wait", "bring one into memory"},
      {"weightctl top", "what goes on, live"},
      {"weightctl doctor", "what is wrong, and how to mend it"},
      {"weightctl status -o json", "for programs"},
      {"weightctl stage --help", "more about one command"},
  };
  return *examples;
}

}  // namespace weightd::cli
