// The clients of the world: as AttachStream does it for a real one.

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "tests/simulation/world.h"

namespace weightd::testing {
namespace {

constexpr size_t kClientsMax = 16;

// What a descriptor leads to.
std::vector<std::byte> ReadAll(int fd, uint64_t bytes) {
  std::vector<std::byte> all(bytes);
  uint64_t done = 0;
  while (done < bytes) {
    const ssize_t count = ::pread(fd, all.data() + done, bytes - done, static_cast<off_t>(done));
    if (count <= 0) break;
    done += static_cast<uint64_t>(count);
  }
  all.resize(done);
  return all;
}

}  // namespace

std::vector<World::ClientPtr> World::ClientsIn(Client::Phase phase) const {
  std::vector<ClientPtr> found;
  for (const ClientPtr& client : clients_) {
    if (client->phase == phase) found.push_back(client);
  }
  return found;
}

void World::StartAttach() {
  std::erase_if(clients_, [](const ClientPtr& c) { return c->phase == Client::Phase::kGone; });
  if (clients_.size() >= kClientsMax) return;
  const auto client = std::make_shared<Client>();
  client->request.peer = {.pid = next_pid_++,
                          .uid = static_cast<uint32_t>(Below(3)),
                          .gid = 0,
                          .groups = {},
                          .same_pid_namespace = !OneIn(20)};
  client->request.model = AnyName();
  client->request.device = AnyDevice();
  client->request.on_notice = [raw = client.get()](const LeaseNotice& notice) {
    if (notice.kind != LeaseNotice::Kind::kRevoked) return;
    raw->revoked = true;
    raw->mapped.reset();  // it was told in time
  };
  client->wait = !OneIn(4);
  clients_.push_back(client);
  executor_.Launch("client", [this, client] { Attach(*client); });
}

void World::Attach(Client& client) {
  absl::StatusOr<Grant> grant = leases_->GrantLease(client.request);
  if (grant.ok() || GetReason(grant.status()) != Reason::kModelNotResident) {
    return Granted(client, std::move(grant));
  }
  const auto ticket = residency_->StageForAttach(client.request.model, client.request.device,
                                                 client.wait, client.request.peer.uid);
  if (!ticket.ok()) return Granted(client, ticket.status());
  accepted_.push_back(ticket->job);
  client.job = ticket->job;
  client.phase = Client::Phase::kWaiting;
  client.observer = client.job->Observe([raw = &client](const StageSnapshot& snapshot) {
    if (!snapshot.final() || raw->phase != Client::Phase::kWaiting) return;
    raw->answer = snapshot;
    raw->phase = Client::Phase::kAnswered;
  });
  // A process that died while it asked.
  if (client.dead) EndClient(client);
}

void World::GoOn(Client& client) {
  client.phase = Client::Phase::kBusy;
  client.job->Unobserve(client.observer);
  client.job = nullptr;
  StageSnapshot answer = std::exchange(client.answer, {});
  if (answer.phase == StagePhase::kFailed) return Granted(client, answer.status);
  const auto found = std::find_if(clients_.begin(), clients_.end(),
                                  [&](const ClientPtr& c) { return c.get() == &client; });
  // The job's own list of holds ends here: what is not ours may go.
  auto hold = answer.holds.empty() ? nullptr : answer.holds.front();
  answer = {};
  executor_.Launch("client", [this, self = *found, hold]() mutable {
    absl::StatusOr<Grant> grant = hold != nullptr ? leases_->GrantHeld(self->request, *hold)
                                                  : leases_->GrantLease(self->request);
    hold.reset();
    ++counts_["granted after waiting"];
    Granted(*self, std::move(grant));
  });
}

void World::Granted(Client& client, absl::StatusOr<Grant> grant) {
  if (!grant.ok()) {
    ++counts_[absl::StrCat("refused: ",
                           ReasonName(GetReason(grant.status()).value_or(Reason::kUnreachable)))];
    client.phase = Client::Phase::kGone;
    return;
  }
  client.grant = *std::move(grant);
  client.phase = Client::Phase::kHolding;
  if (client.dead || client.revoked) return EndClient(client);
  CheckBytes(client);
}

void World::CheckBytes(Client& client) {
  const CopyContent& content = *client.grant.content;
  std::string wrong;
  if (content.device.kind == DeviceKind::kHost) {
    auto fds = leases_->RedeemTicket(client.grant.ticket, client.request.peer);
    if (!fds.ok()) return;  // a failure of ours
    const std::vector<std::byte> bytes = ReadAll(fds->front().get(), content.allocated_bytes);
    wrong = models_.Judge(content, bytes);
  } else {
    auto mapped = DeviceOf(content.device.id)->inner().Map(client.grant.cuda_ipc_handle);
    if (!mapped.ok()) return Violate(std::string(mapped.status().message()));
    wrong = models_.Judge(content, mapped->bytes());
    client.mapped = *std::move(mapped);
  }
  ++counts_["attached"];
  if (!wrong.empty()) Violate(std::move(wrong));
}

// However it goes: its stream ends, and its mapping is gone with the process.
void World::EndClient(Client& client) {
  client.dead = true;
  switch (client.phase) {
    case Client::Phase::kBusy:
    case Client::Phase::kGone:
      return;
    case Client::Phase::kWaiting:
    case Client::Phase::kAnswered:
      client.job->Unobserve(client.observer);
      client.job->Leave(client.request.peer.uid);
      client.answer = {};
      client.job = nullptr;
      break;
    case Client::Phase::kHolding:
      if (client.mapped.has_value()) {
        const std::string wrong = models_.Judge(*client.grant.content, client.mapped->bytes());
        if (!wrong.empty()) Violate(absl::StrCat("at the end of a lease: ", wrong));
      }
      client.mapped.reset();
      leases_->End(client.grant.lease, "client gone");
      break;
  }
  client.phase = Client::Phase::kGone;
}

void World::KillClient() {
  if (!clients_.empty()) EndClient(*clients_[Below(clients_.size())]);
}

}  // namespace weightd::testing
