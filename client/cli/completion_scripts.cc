#include "client/cli/completion_scripts.h"

namespace weightd::cli {
namespace {

// $1 is the command as it was typed.
constexpr absl::string_view kBash = R"script(# bash completion of weightctl
_weightctl() {
  local typed="${COMP_WORDS[COMP_CWORD]}" word rest path
  [[ $typed == "=" ]] && typed=""
  COMPREPLY=()
  while IFS=$'\t' read -r word rest; do
    case $word in
      :files | :directories)
        local action=-f
        [[ $word == :directories ]] && action=-d
        compopt -o filenames 2>/dev/null
        while IFS= read -r path; do COMPREPLY+=("$path"); done < <(compgen "$action" -- "$typed")
        ;;
      *) COMPREPLY+=("$word") ;;
    esac
  done < <("${1/#\~/$HOME}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _weightctl weightctl
)script";

constexpr absl::string_view kZsh = R"script(#compdef weightctl
_weightctl() {
  local -a described
  local line word
  while IFS= read -r line; do
    word="${line%%$'\t'*}"
    case $word in
      :files) _files ;;
      :directories) _files -/ ;;
      *)
        if [[ $line == *$'\t'* ]]; then
          described+=("${word//:/\\:}:${line#*$'\t'}")
        else
          described+=("${word//:/\\:}")
        fi
        ;;
    esac
  done < <("${words[1]/#\~/$HOME}" __complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)
  (( ${#described} )) && _describe -V 'weightctl' described
}
if [[ ${funcstack[1]} == _weightctl ]]; then
  _weightctl "$@"
else
  compdef _weightctl weightctl
fi
)script";

constexpr absl::string_view kFish = R"script(# fish completion of weightctl
function __weightctl_complete
    set -l before (commandline -opc)
    set -l command $before[1]
    set -e before[1]
    set -l typed (commandline -ct)
    for line in ($command __complete -- $before "$typed" 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path $typed
            case ':directories'
                __fish_complete_directories $typed
            case '*'
                echo $line
        end
    end
end
complete -c weightctl -f -a '(__weightctl_complete)'
)script";

}  // namespace

absl::string_view CompletionScript(absl::string_view shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  if (shell == "fish") return kFish;
  return "";
}

}  // namespace weightd::cli
