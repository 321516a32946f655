#include "tests/integration/history/history_judge.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace weightd::testing {
namespace {

// What the issue allows.
constexpr absl::Duration kLeaseLagMax = absl::Seconds(1);
// How much later an event may come than what it tells of.
constexpr absl::Duration kPublishLagMax = absl::Seconds(1);
// Two processes' clocks, read through their own calibrations.
constexpr absl::Duration kClockSlack = absl::Milliseconds(10);

// A lease, as events tell of it; the numbers are indexes of events.
struct LeaseEvents {
  std::optional<size_t> granted;
  std::vector<size_t> ends;  // ended or revoked
};

class Judging {
 public:
  explicit Judging(const History& history) : history_(history) {
    for (const ClientStory& client : history.clients) by_pid_[client.pid].push_back(&client);
    for (size_t i = 0; i < history.events.size(); ++i) Index(i);
  }

  Verdict Run() {
    JudgeClients();
    JudgeUsage();
    JudgeSequence();
    JudgeGenerations();
    JudgeStages();
    for (const auto& [id, lease] : leases_) JudgeLease(id, lease);
    JudgeGrants();
    JudgeSamples();
    JudgeAnswers();
    return std::move(verdict_);
  }

 private:
  using Place = std::pair<uint64_t, std::string>;  // generation, device

  void Index(size_t i);
  void JudgeClients();
  void JudgeRefusals(const ClientStory& client);
  void JudgeUsage();
  void JudgeSequence();
  void JudgeGenerations();
  void JudgeStages();
  void JudgeLease(uint64_t id, const LeaseEvents& lease);
  int CopiesAt(const Place& place, size_t at);
  void JudgeResidency(uint64_t id, size_t granted, size_t ended);
  void JudgeLag(uint64_t id, const v1::Event& end);
  void JudgeGrants();
  void JudgeGrant(const ClientStory& client, const ClientStory::Grant& grant);
  void JudgeSamples();
  void JudgeAnswers();

  const v1::Event& At(size_t i) const { return history_.events[i]; }
  // Whose pid it was at that time; pids may come again.
  const ClientStory* ClientOf(pid_t pid, absl::Time time) const;
  const VolumeVersion* FindVersion(const std::string& model, uint64_t version) const;
  bool WasRevoked(uint64_t lease_id) const;
  template <typename... Parts>
  void Breach(const Parts&... parts) {
    verdict_.breaches.push_back(absl::StrCat(parts...));
  }

  const History& history_;
  std::map<pid_t, std::vector<const ClientStory*>> by_pid_;
  std::map<uint64_t, LeaseEvents> leases_;
  std::map<Place, std::vector<size_t>> made_;  // when it became resident there
  std::map<Place, std::vector<size_t>> gone_;
  std::map<uint64_t, size_t> started_;     // by job
  std::map<uint64_t, uint64_t> versions_;  // of generations, as clients read them
  Verdict verdict_;
};

void Judging::Index(size_t i) {
  const v1::Event& event = At(i);
  const Place place = {event.generation_id(), event.device()};
  switch (event.type()) {
    case v1::STAGE_STARTED:
      started_[event.job_id()] = i;
      break;
    case v1::STAGE_DONE:
      if (event.detail() != "already resident") made_[place].push_back(i);
      break;
    case v1::DEMOTED:
      ++verdict_.figures.demotions;
      made_[{event.generation_id(), "host"}].push_back(i);
      break;
    case v1::EVICTED:
      ++verdict_.figures.evictions;
      gone_[place].push_back(i);
      break;
    case v1::LEASE_GRANTED:
      leases_[event.lease_id()].granted = i;
      break;
    case v1::LEASE_REVOKED:
      ++verdict_.figures.revoked;
      leases_[event.lease_id()].ends.push_back(i);
      break;
    case v1::LEASE_ENDED:
      leases_[event.lease_id()].ends.push_back(i);
      break;
    default:
      break;
  }
}

const ClientStory* Judging::ClientOf(pid_t pid, absl::Time time) const {
  const auto found = by_pid_.find(pid);
  if (found == by_pid_.end()) return nullptr;
  const ClientStory* latest = nullptr;
  for (const ClientStory* client : found->second) {
    if (client->start_time <= time + kClockSlack) latest = client;
  }
  return latest;
}

const VolumeVersion* Judging::FindVersion(const std::string& model, uint64_t version) const {
  const auto found =
      std::find_if(history_.versions.begin(), history_.versions.end(),
                   [&](const auto& one) { return one.model == model && one.version == version; });
  return found == history_.versions.end() ? nullptr : &*found;
}

bool Judging::WasRevoked(uint64_t lease_id) const {
  const auto found = leases_.find(lease_id);
  return found != leases_.end() &&
         std::any_of(found->second.ends.begin(), found->second.ends.end(),
                     [&](size_t end) { return At(end).type() == v1::LEASE_REVOKED; });
}

void Judging::JudgeClients() {
  HistoryFigures& figures = verdict_.figures;
  for (const ClientStory& client : history_.clients) {
    ++figures.clients;
    figures.whole_reads += client.same_count;
    figures.killed += client.killed ? 1 : 0;
    figures.superseded += client.superseded ? 1 : 0;
    figures.refused += static_cast<int>(client.refusals.size());
    for (const std::string& complaint : client.complaints) {
      Breach("client ", client.id, " of ", client.model, ": ", complaint);
    }
    JudgeRefusals(client);
    if (client.lost.has_value() && !absl::StartsWith(*client.lost, "ABORTED/LEASE_REVOKED")) {
      Breach("client ", client.id, " of ", client.model, " lost its lease: ", *client.lost);
    }
    if (client.lost.has_value() && client.grant.has_value() &&
        !WasRevoked(client.grant->lease_id)) {
      Breach("client ", client.id, ": no event revokes its lease ", client.grant->lease_id);
    }
  }
  figures.versions = static_cast<int>(history_.versions.size());
}

// What changes under it, and what does not fit: nothing else may stand in a client's way.
void Judging::JudgeRefusals(const ClientStory& client) {
  static const std::set<std::string>& allowed =
      *new std::set<std::string>{"FAILED_PRECONDITION/MODEL_NOT_RESIDENT",
                                 "RESOURCE_EXHAUSTED/BUDGET_EXCEEDED",
                                 "FAILED_PRECONDITION/MODEL_BUSY",
                                 "ABORTED/CHECKPOINT_CHANGED",
                                 "NOT_FOUND/MODEL_NOT_FOUND",
                                 "DATA_LOSS/CHECKPOINT_INVALID",
                                 "NOT_FOUND/READ_FAILED",
                                 "ABORTED/LEASE_REVOKED",
                                 "PERMISSION_DENIED/TICKET_INVALID"};
  const bool was_revoked = std::any_of(leases_.begin(), leases_.end(), [&](const auto& lease) {
    return lease.second.granted.has_value() && At(*lease.second.granted).pid() == client.pid &&
           WasRevoked(lease.first);
  });
  for (const std::string& refusal : client.refusals) {
    const std::string reason = refusal.substr(0, refusal.find(':'));
    const bool needs_revocation =
        absl::EndsWith(reason, "TICKET_INVALID") || absl::EndsWith(reason, "LEASE_REVOKED");
    if (allowed.contains(reason) && (was_revoked || !needs_revocation)) continue;
    Breach("client ", client.id, " was refused: ", refusal);
  }
}

void Judging::JudgeUsage() {
  for (const UsageSample& sample : history_.usage) {
    ++verdict_.figures.observations;
    verdict_.figures.used_bytes_max = std::max(verdict_.figures.used_bytes_max, sample.used_bytes);
    if (sample.used_bytes <= sample.budget_bytes) continue;
    Breach(sample.device, " used ", sample.used_bytes, " of ", sample.budget_bytes, " bytes");
  }
}

void Judging::JudgeSequence() {
  for (size_t i = 0; i < history_.events.size(); ++i) {
    if (At(i).sequence() == i + 1) continue;
    return Breach("event ", At(i).sequence(), " came as number ", i + 1);
  }
}

// One model and one version each.
void Judging::JudgeGenerations() {
  std::map<uint64_t, std::string> models;
  const auto is_model = [&](uint64_t generation, const std::string& model) {
    if (generation == 0) return;
    const std::string& known = models.try_emplace(generation, model).first->second;
    if (known != model) Breach("generation ", generation, " is of ", known, " and of ", model);
  };
  for (const v1::Event& event : history_.events) is_model(event.generation_id(), event.model());
  for (const GenerationSample& sample : history_.generations) {
    is_model(sample.generation_id, sample.model);
  }
  for (const ClientStory& client : history_.clients) {
    if (!client.grant.has_value()) continue;
    const uint64_t generation = client.grant->generation_id;
    is_model(generation, client.model);
    const uint64_t version = client.grant->version;
    const uint64_t known = versions_.try_emplace(generation, version).first->second;
    if (known != version) {
      Breach("generation ", generation, " of ", client.model, " is version ", known, " and ",
             version);
    }
  }
}

// What was read from the volume was there at that time.
void Judging::JudgeStages() {
  for (const v1::Event& event : history_.events) {
    if (event.type() != v1::STAGE_DONE || !absl::StrContains(event.detail(), "source=volume")) {
      continue;
    }
    ++verdict_.figures.stages;
    const auto started = started_.find(event.job_id());
    const auto version = versions_.find(event.generation_id());
    if (started == started_.end()) {
      Breach("job ", event.job_id(), " of ", event.model(), " is done and never started");
    } else if (version != versions_.end()) {
      const VolumeVersion* was_there = FindVersion(event.model(), version->second);
      if (was_there == nullptr || was_there->published_after > TimeOf(event) + kClockSlack ||
          was_there->retired_before < TimeOf(At(started->second)) - kClockSlack) {
        Breach("generation ", event.generation_id(), " of ", event.model(), " is version ",
               version->second, ", which was not on the volume while it was staged");
      }
    }
  }
}

void Judging::JudgeLease(uint64_t id, const LeaseEvents& lease) {
  if (!lease.granted.has_value() || lease.ends.size() != 1) {
    return Breach("lease ", id, " was granted ", lease.granted.has_value() ? "once" : "never",
                  " and ended ", lease.ends.size(), " times");
  }
  JudgeResidency(id, *lease.granted, lease.ends.front());
  JudgeLag(id, At(lease.ends.front()));
}

// How many copies were at this place just before event `at`. There may be two for a while: one that
// is on its way out, and one that was made anew, of the same generation. Events are published after
// what they tell of, each by its own thread: a lease may be told of just before the stage or the
// demotion that it waited for, but not before that began.
int Judging::CopiesAt(const Place& place, size_t at) {
  int copies = 0;
  for (const size_t i : made_[place]) {
    const auto started = started_.find(At(i).job_id());
    const bool is_under_way = At(i).type() == v1::DEMOTED
                                  ? TimeOf(At(i)) - TimeOf(At(at)) < kPublishLagMax
                                  : started != started_.end() && started->second < at;
    if (i < at || is_under_way) ++copies;
  }
  const std::vector<size_t>& gone = gone_[place];
  return copies - static_cast<int>(
                      std::count_if(gone.begin(), gone.end(), [&](size_t i) { return i < at; }));
}

void Judging::JudgeResidency(uint64_t id, size_t granted, size_t ended) {
  const v1::Event& grant = At(granted);
  const Place place = {grant.generation_id(), grant.device()};
  if (CopiesAt(place, granted) < 1) {
    return Breach("lease ", id, " is on generation ", grant.generation_id(), " of ", grant.model(),
                  ", which was not resident on ", grant.device());
  }
  if (At(ended).type() == v1::LEASE_REVOKED) return;
  for (const size_t i : gone_[place]) {
    if (i < granted || i > ended || CopiesAt(place, i) > 1) continue;
    Breach("lease ", id, " is on generation ", grant.generation_id(), " of ", grant.model(),
           ", which was evicted from ", grant.device(), " meanwhile: events ",
           At(granted).sequence(), " to ", At(ended).sequence(), ", evicted with ",
           At(i).sequence());
  }
}

void Judging::JudgeLag(uint64_t id, const v1::Event& end) {
  const ClientStory* client = ClientOf(end.pid(), TimeOf(end));
  if (client == nullptr) return Breach("lease ", id, " is of process ", end.pid(), ", not ours");
  const absl::Duration lag = TimeOf(end) - client->end_time;
  if (lag > absl::ZeroDuration() && client->killed) ++verdict_.figures.killed_holding;
  verdict_.figures.lease_lag_max = std::max(verdict_.figures.lease_lag_max, lag);
  if (lag <= kLeaseLagMax) return;
  Breach("lease ", id, " outlived client ", client->id, " by ", absl::FormatDuration(lag));
}

void Judging::JudgeGrants() {
  for (const ClientStory& client : history_.clients) {
    if (!client.grant.has_value()) continue;
    ++verdict_.figures.granted;
    JudgeGrant(client, *client.grant);
  }
}

// The client and the events tell of the same lease, on what was on the volume before.
void Judging::JudgeGrant(const ClientStory& client, const ClientStory::Grant& grant) {
  const auto lease = leases_.find(grant.lease_id);
  if (lease == leases_.end() || !lease->second.granted.has_value()) {
    return Breach("client ", client.id, " holds lease ", grant.lease_id, ", which no event grants");
  }
  const v1::Event& event = At(*lease->second.granted);
  if (event.pid() != client.pid || event.model() != client.model ||
      event.generation_id() != grant.generation_id || event.device() != grant.device) {
    Breach("client ", client.id, " holds lease ", grant.lease_id, " on generation ",
           grant.generation_id, " of ", client.model, " on ", grant.device, ", but the event says ",
           event.ShortDebugString());
  }
  const VolumeVersion* version = FindVersion(client.model, grant.version);
  if (version == nullptr || version->published_after > TimeOf(event) + kClockSlack) {
    Breach("client ", client.id, " was granted version ", grant.version, " of ", client.model,
           " before it was on the volume");
  }
}

void Judging::JudgeSamples() {
  for (const LeaseSample& sample : history_.leases) {
    ++verdict_.figures.observations;
    const ClientStory* client = ClientOf(sample.pid, sample.asked_time);
    if (client == nullptr) {
      Breach("lease ", sample.lease_id, " is listed for process ", sample.pid, ", not ours");
    } else if (sample.asked_time - client->end_time > kLeaseLagMax) {
      Breach("lease ", sample.lease_id, " is listed ",
             absl::FormatDuration(sample.asked_time - client->end_time), " after client ",
             client->id, " ended");
    }
  }
}

void Judging::JudgeAnswers() {
  static const std::map<std::string, std::set<std::string>>& allowed =
      *new std::map<std::string, std::set<std::string>>{
          {"stage",
           {"RESOURCE_EXHAUSTED/BUDGET_EXCEEDED", "ABORTED/CHECKPOINT_CHANGED",
            "NOT_FOUND/MODEL_NOT_FOUND", "DATA_LOSS/CHECKPOINT_INVALID", "NOT_FOUND/READ_FAILED"}},
          {"stage and leave",
           {"CANCELLED", "RESOURCE_EXHAUSTED/BUDGET_EXCEEDED", "ABORTED/CHECKPOINT_CHANGED",
            "NOT_FOUND/MODEL_NOT_FOUND", "DATA_LOSS/CHECKPOINT_INVALID", "NOT_FOUND/READ_FAILED"}},
          {"evict",
           {"FAILED_PRECONDITION/MODEL_NOT_RESIDENT", "NOT_FOUND/MODEL_NOT_FOUND",
            "FAILED_PRECONDITION/MODEL_LEASED", "FAILED_PRECONDITION/MODEL_BUSY"}},
          {"evict by force",
           {"FAILED_PRECONDITION/MODEL_NOT_RESIDENT", "NOT_FOUND/MODEL_NOT_FOUND",
            "FAILED_PRECONDITION/MODEL_BUSY"}},
          {"pin",
           {"FAILED_PRECONDITION/MODEL_NOT_RESIDENT", "NOT_FOUND/MODEL_NOT_FOUND",
            "FAILED_PRECONDITION/MODEL_BUSY"}},
          {"unpin",
           {"FAILED_PRECONDITION/MODEL_NOT_RESIDENT", "NOT_FOUND/MODEL_NOT_FOUND",
            "FAILED_PRECONDITION/MODEL_BUSY"}},
      };
  for (const Answer& answer : history_.answers) {
    const std::string reason = answer.result.substr(0, answer.result.find(':'));
    const auto reasons = allowed.find(answer.call);
    if (reason == "OK" || (reasons != allowed.end() && reasons->second.contains(reason))) continue;
    Breach(answer.call, " ", answer.model, ": ", answer.result);
  }
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const HistoryFigures& figures) {
  return out << "clients=" << figures.clients << " granted=" << figures.granted
             << " killed=" << figures.killed << " killed_holding=" << figures.killed_holding
             << " revoked=" << figures.revoked << " superseded=" << figures.superseded
             << " refused=" << figures.refused << " whole_reads=" << figures.whole_reads
             << " stages=" << figures.stages << " evictions=" << figures.evictions
             << " demotions=" << figures.demotions << " versions=" << figures.versions
             << " observations=" << figures.observations
             << " used_bytes_max=" << figures.used_bytes_max
             << " lease_lag_max=" << absl::FormatDuration(figures.lease_lag_max);
}

Verdict Judge(const History& history) { return Judging(history).Run(); }

}  // namespace weightd::testing
