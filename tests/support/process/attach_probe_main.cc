// weightd_attach_probe SOCKET_DIR MODEL DEVICE [FILE]...: a client as a stranger would write it.
//
// Attaches and says so on stdout, then answers the lines of stdin, one line each, until it ends:
//   compare   with the files
//   held      "held" or "lost"
// Notices go to stderr as they come. AttachProbe is the other end.

#include <weightd/client.h>

#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/process/file_judge.h"

namespace weightd::testing {
namespace {

constexpr int kExitRefused = 3;

// One write, so that lines of several threads do not mix.
void PrintNotice(const client::Notice& notice) {
  std::ostringstream line;
  switch (notice.kind) {
    case client::Notice::Kind::kSuperseded:
      line << "notice superseded generation=" << notice.generation_id << '\n';
      break;
    case client::Notice::Kind::kDraining:
      line << "notice draining\n";
      break;
    case client::Notice::Kind::kRevoking:
      line << "notice revoking\n";
      break;
    case client::Notice::Kind::kDamaged:
      line << "notice damaged\n";
      break;
    case client::Notice::Kind::kLeaseLost:
      line << "notice lost " << notice.status << '\n';
      break;
  }
  std::cerr << line.str() << std::flush;
}

int Main(const std::vector<std::string>& arguments) {
  client::AttachOptions options;
  options.socket_dir = arguments[0];
  options.device = arguments[2];
  options.client_name = "attach_probe";
  options.timeout = std::chrono::seconds(60);
  options.on_notice = PrintNotice;
  const client::Result<client::Mapping> mapping = client::Attach(arguments[1], options);
  if (!mapping.ok()) {
    std::cout << "refused " << mapping.status() << std::endl;
    return kExitRefused;
  }
  std::cout << "attached lease=" << mapping->lease_id()
            << " generation=" << mapping->generation_id() << " device=" << mapping->device()
            << " tensors=" << mapping->tensors().size() << " bytes=" << mapping->total_bytes()
            << " revision=" << mapping->revision() << std::endl;
  const std::vector<std::string> files(arguments.begin() + 3, arguments.end());
  for (std::string command; std::getline(std::cin, command);) {
    if (command == "compare") std::cout << CompareWithFiles(*mapping, files) << std::endl;
    if (command == "held") std::cout << (mapping->lease_held() ? "held" : "lost") << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace weightd::testing

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: weightd_attach_probe SOCKET_DIR MODEL DEVICE [FILE]...\n";
    return 2;
  }
  return weightd::testing::Main({argv + 1, argv + argc});
}
