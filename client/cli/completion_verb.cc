#include <memory>
#include <string>

#include "client/cli/completion_scripts.h"
#include "client/cli/verbs.h"

namespace weightd::cli {

void AddCompletionVerb(CLI::App& app, Invocation& invocation) {
  const auto shell = std::make_shared<std::string>();
  AddVerb(app, invocation, "completion",
          [&invocation, shell] {
            invocation.io.out << CompletionScript(*shell);
            return absl::OkStatus();
          })
      ->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace weightd::cli
