// weightd_history_client SOCKET_DIR ID MODEL DEVICE require|wait: one of the many clients of the
// history test.
//
// Attaches, reads every byte, and holds the lease until it is told to go, or killed. Descriptor 3
// is a pipe that all clients share: what happens is a line there, one write each, which begins with
// ID:
//   refused CODE/REASON: message           then `again` on stdin attaches again
//   granted LEASE GENERATION DEVICE VERSION
//   same                                   every byte was what it has to be
//   different TEXT
//   stopped                                asked to read GPU memory whose lease is lost
//   superseded | revoking | draining | lost CODE/REASON: message
//   left                                   the last one
// `read` on stdin reads everything once more; anything else, or its end, ends the program.

#include <unistd.h>
#include <weightd/client.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/history/mapping_judge.h"

namespace weightd::testing {
namespace {

constexpr int kLinesFd = 3;

class HistoryClient {
 public:
  explicit HistoryClient(const std::vector<std::string>& arguments)
      : id_(arguments[1]), model_(*FindHistoryModel(arguments[2])) {
    options_.socket_dir = arguments[0];
    options_.device = arguments[3];
    options_.client_name = absl::StrCat("history_client ", id_);
    options_.policy =
        arguments[4] == "wait" ? client::AttachPolicy::kWait : client::AttachPolicy::kRequire;
    options_.timeout = std::chrono::seconds(60);
    options_.wait_timeout = std::chrono::seconds(60);
    options_.on_notice = [this](const client::Notice& notice) { SayNotice(notice); };
  }

  void Run() {
    while (true) {
      const client::Result<client::Mapping> mapping = client::Attach(model_.name, options_);
      if (mapping.ok()) {
        Hold(*mapping);
        break;
      }
      Say(absl::StrCat("refused ", mapping.status().ToString()));
      std::string command;
      if (!std::getline(std::cin, command) || command != "again") break;
    }
  }
  // One write, so that lines of several threads and processes do not mix.
  void Say(const std::string& what) const {
    std::string line = absl::StrCat(id_, " ", what);
    for (char& c : line) c = c == '\n' ? ' ' : c;
    line.resize(std::min<size_t>(line.size(), 1000));
    line.push_back('\n');
    if (::write(kLinesFd, line.data(), line.size()) < 0) ::_exit(1);
  }

 private:
  void Hold(const client::Mapping& mapping) const {
    const std::optional<uint64_t> version = VersionOf(mapping, model_);
    Say(absl::StrCat("granted ", mapping.lease_id(), " ", mapping.generation_id(), " ",
                     mapping.device(), " ", version.value_or(0)));
    if (!version.has_value()) Say("different: another model, or no version");
    Read(mapping, version.value_or(0));
    for (std::string command; std::getline(std::cin, command) && command == "read";) {
      Read(mapping, version.value_or(0));
    }
  }

  void Read(const client::Mapping& mapping, uint64_t version) const {
    if (mapping.device() != "host" && !mapping.lease_held()) return Say("stopped");
    const std::optional<std::string> difference = FindDifference(mapping, model_, version);
    Say(difference.has_value() ? absl::StrCat("different ", *difference) : "same");
  }

  void SayNotice(const client::Notice& notice) const {
    switch (notice.kind) {
      case client::Notice::Kind::kSuperseded:
        return Say("superseded");
      case client::Notice::Kind::kDraining:
        return Say("draining");
      case client::Notice::Kind::kRevoking:
        return Say("revoking");
      case client::Notice::Kind::kDamaged:
        return Say("damaged");
      case client::Notice::Kind::kLeaseLost:
        return Say(absl::StrCat("lost ", notice.status.ToString()));
    }
  }

  const std::string id_;
  const HistoryModel& model_;
  client::AttachOptions options_;
};

}  // namespace
}  // namespace weightd::testing

int main(int argc, char** argv) {
  if (argc != 6 || weightd::testing::FindHistoryModel(argv[3]) == nullptr) {
    std::cerr << "usage: weightd_history_client SOCKET_DIR ID MODEL DEVICE require|wait\n";
    return 2;
  }
  weightd::testing::HistoryClient client({argv + 1, argv + argc});
  client.Run();
  client.Say("left");
  return 0;
}
