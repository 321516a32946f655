#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_CLIENTS_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_CLIENTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"
#include "tests/integration/history/history.h"
#include "tests/support/process/child_process.h"

namespace weightd::testing {

struct ClientsOptions {
  std::string socket_dir;
  uint64_t seed = 0;
  int count = 200;                 // processes in all
  int at_once_max = 24;            // of them, alive at a time
  double killed = 0.5;             // share that ends by `kill -9`
  double requires_resident = 0.2;  // share that does not wait for a stage
  // What they ask for; one of them each.
  std::vector<std::string> devices = {"", "host"};
  // Whoever is told that its lease will be revoked leaves at once; else only half of them.
  bool leave_when_revoking = false;
  std::vector<std::string> environment{};
};

// Client processes (history_client_main.cc), one after another: each attaches, reads several times
// and leaves, or is killed at some time of all that. Thread-compatible; the thread that calls Run()
// must live as long as this.
class HistoryClients {
 public:
  explicit HistoryClients(const ClientsOptions& options);

  // Returns when all have ended.
  void Run();
  const std::vector<ClientStory>& stories() const { return stories_; }

 private:
  // One that lives.
  struct Client {
    std::unique_ptr<ChildProcess> process;
    size_t story = 0;  // into stories_
    int reads_left = 0;
    int attaches_left = 0;
    bool is_leaving = false;
    bool dies_holding = false;  // its death comes some time after its grant
    absl::Time kill_time = absl::InfiniteFuture();
    absl::Time command_time = absl::InfiniteFuture();  // of the next line to its stdin
    absl::Time last_line_time;
  };

  void Start();
  // Takes what clients have written, or write by then; false when that is nothing.
  bool WaitForLines(absl::Time until);
  void TakeLine(absl::string_view line);
  void OnRefused(Client& client, absl::string_view why);
  void OnGranted(Client& client, absl::string_view numbers);
  void OnLost(Client& client, absl::string_view why);
  // What is due at `now`, for each; takes those out that have ended.
  void Act(absl::Time now);
  void Command(Client& client);
  bool Ended(Client& client, absl::Time now);
  absl::Time NextTime() const;
  absl::Duration Soon(int milliseconds_max);
  bool Chance(double probability);
  ClientStory& StoryOf(const Client& client) { return stories_[client.story]; }

  const ClientsOptions options_;
  std::mt19937_64 random_;
  UniqueFd lines_;      // of all clients
  UniqueFd lines_end_;  // that they write to
  std::string partial_line_;
  std::map<int, Client> alive_;  // by id
  std::vector<ClientStory> stories_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_CLIENTS_H_
