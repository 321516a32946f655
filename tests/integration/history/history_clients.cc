#include "tests/integration/history/history_clients.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "tests/integration/history/history_model.h"

namespace weightd::testing {
namespace {

constexpr int kAttachesMax = 20;
constexpr int kReadsMax = 3;
constexpr int kRetryMaxMs = 60;
constexpr int kReadAgainMaxMs = 100;
constexpr int kKillFromStartMaxMs = 500;
constexpr int kKillFromGrantMaxMs = 150;
// A client that says nothing for so long hangs.
constexpr absl::Duration kSilenceMax = absl::Seconds(90);
// How often to look for clients that ended without a word.
constexpr absl::Duration kLookMax = absl::Milliseconds(50);

}  // namespace

HistoryClients::HistoryClients(const ClientsOptions& options)
    : options_(options), random_(options.seed) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  lines_.reset(ends[0]);
  lines_end_.reset(ends[1]);
}

absl::Duration HistoryClients::Soon(int milliseconds_max) {
  return absl::Milliseconds(std::uniform_int_distribution<int>(0, milliseconds_max)(random_));
}

bool HistoryClients::Chance(double probability) {
  return std::bernoulli_distribution(probability)(random_);
}

void HistoryClients::Run() {
  while (static_cast<int>(stories_.size()) < options_.count || !alive_.empty()) {
    if (static_cast<int>(stories_.size()) < options_.count &&
        static_cast<int>(alive_.size()) < options_.at_once_max) {
      Start();
    } else {
      WaitForLines(std::min(NextTime(), absl::Now() + kLookMax));
    }
    Act(absl::Now());
  }
  while (WaitForLines(absl::InfinitePast())) {
  }
}

void HistoryClients::Start() {
  const std::vector<HistoryModel>& models = HistoryModels();
  const int id = static_cast<int>(stories_.size());
  ClientStory story;
  story.id = id;
  story.model = models[random_() % models.size()].name;
  story.start_time = absl::Now();
  Client client;
  client.story = stories_.size();
  client.reads_left = static_cast<int>(random_() % (kReadsMax + 1));
  client.attaches_left = kAttachesMax;
  client.last_line_time = story.start_time;
  if (Chance(options_.killed)) {
    client.dies_holding = Chance(0.7);
    if (!client.dies_holding) client.kill_time = story.start_time + Soon(kKillFromStartMaxMs);
  }
  ChildOptions child;
  child.argv = {WEIGHTD_HISTORY_CLIENT_PROGRAM,
                options_.socket_dir,
                absl::StrCat(id),
                story.model,
                options_.devices[random_() % options_.devices.size()],
                Chance(options_.requires_resident) ? "require" : "wait"};
  child.environment = options_.environment;
  child.passed_fd = lines_end_.get();
  client.process = std::make_unique<ChildProcess>(child);
  story.pid = client.process->pid();
  stories_.push_back(std::move(story));
  alive_.emplace(id, std::move(client));
}

bool HistoryClients::WaitForLines(absl::Time until) {
  const int64_t wait_ms = std::max<int64_t>(0, absl::ToInt64Milliseconds(until - absl::Now()));
  pollfd source{lines_.get(), POLLIN, 0};
  if (::poll(&source, 1, static_cast<int>(wait_ms)) <= 0) return false;
  std::array<char, size_t{16} * 1024> buffer;
  const ssize_t got = ::read(lines_.get(), buffer.data(), buffer.size());
  if (got <= 0) return false;
  partial_line_.append(buffer.data(), static_cast<size_t>(got));
  const size_t end = partial_line_.rfind('\n');
  if (end == std::string::npos) return true;
  const std::string whole = partial_line_.substr(0, end);
  partial_line_.erase(0, end + 1);
  for (const absl::string_view line : absl::StrSplit(whole, '\n')) TakeLine(line);
  return true;
}

void HistoryClients::TakeLine(absl::string_view line) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(line, absl::MaxSplits(' ', 1));
  int id = 0;
  if (!absl::SimpleAtoi(parts.first, &id)) throw std::runtime_error(std::string(line));
  const auto found = alive_.find(id);
  Client gone;  // it wrote this before it was killed
  gone.story = static_cast<size_t>(id);
  Client& client = found == alive_.end() ? gone : found->second;
  ClientStory& story = StoryOf(client);
  client.last_line_time = absl::Now();
  absl::string_view text = parts.second;
  if (absl::ConsumePrefix(&text, "refused ")) return OnRefused(client, text);
  if (absl::ConsumePrefix(&text, "granted ")) return OnGranted(client, text);
  if (absl::ConsumePrefix(&text, "lost ")) return OnLost(client, text);
  if (text == "same") {
    ++story.same_count;
    if (story.lost.has_value()) ++story.same_after_lost_count;
    client.command_time = client.last_line_time + Soon(kReadAgainMaxMs);
  } else if (text == "superseded") {
    story.superseded = true;
    ++client.reads_left;
  } else if (text == "revoking") {
    if (options_.leave_when_revoking || Chance(0.5)) {
      client.reads_left = 0;
      client.command_time = client.last_line_time;
    }
  } else if (text == "stopped" || text == "left") {
    client.command_time = client.last_line_time;
  } else {
    story.complaints.push_back(std::string(text));
  }
}

void HistoryClients::OnRefused(Client& client, absl::string_view why) {
  ClientStory& story = StoryOf(client);
  story.refusals.push_back(std::string(why));
  // Notices so far were of a lease that ended before Attach() had it whole.
  story.lost.reset();
  story.superseded = false;
  client.command_time = client.last_line_time + Soon(kRetryMaxMs);
}

void HistoryClients::OnGranted(Client& client, absl::string_view numbers) {
  const std::vector<std::string> words = absl::StrSplit(numbers, ' ');
  ClientStory::Grant grant;
  if (words.size() != 4 || !absl::SimpleAtoi(words[0], &grant.lease_id) ||
      !absl::SimpleAtoi(words[1], &grant.generation_id) ||
      !absl::SimpleAtoi(words[3], &grant.version)) {
    StoryOf(client).complaints.push_back(absl::StrCat("granted ", numbers));
    return;
  }
  grant.device = words[2];
  StoryOf(client).grant = grant;
  if (client.dies_holding) client.kill_time = client.last_line_time + Soon(kKillFromGrantMaxMs);
}

// What it has mapped of host memory must still be what it was.
void HistoryClients::OnLost(Client& client, absl::string_view why) {
  StoryOf(client).lost = std::string(why);
  ++client.reads_left;
  client.command_time = std::min(client.command_time, client.last_line_time);
}

absl::Time HistoryClients::NextTime() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [id, client] : alive_) {
    next = std::min({next, client.kill_time, client.command_time});
  }
  return next;
}

void HistoryClients::Act(absl::Time now) {
  for (auto entry = alive_.begin(); entry != alive_.end();) {
    Client& client = entry->second;
    if (Ended(client, now)) {
      entry = alive_.erase(entry);
      continue;
    }
    if (client.command_time <= now) Command(client);
    ++entry;
  }
}

void HistoryClients::Command(Client& client) {
  client.command_time = absl::InfiniteFuture();
  if (client.is_leaving) return;
  const bool is_attached = StoryOf(client).grant.has_value();
  int& left = is_attached ? client.reads_left : client.attaches_left;
  if (left-- > 0) {
    client.process->WriteLine(is_attached ? "read" : "again");
  } else {
    client.is_leaving = true;
    client.process->CloseInput();
  }
}

bool HistoryClients::Ended(Client& client, absl::Time now) {
  ClientStory& story = StoryOf(client);
  if (now - client.last_line_time > kSilenceMax) {
    story.complaints.push_back("it hangs");
    client.kill_time = now;
  }
  if (client.kill_time <= now) {
    story.killed = true;
    story.exit_status = client.process->Kill();
  } else {
    story.exit_status = client.process->WaitForExit(absl::ZeroDuration());
  }
  if (!story.exit_status.has_value()) return false;
  story.end_time = absl::Now();
  if (*story.exit_status != 0 && !story.killed) {
    story.complaints.push_back(
        absl::StrCat("ended with ", *story.exit_status, ": ", client.process->err()));
  }
  return true;
}

}  // namespace weightd::testing
