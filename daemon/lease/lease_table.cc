#include "daemon/lease/lease_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/lease/ticket.h"

namespace weightd {
namespace {

EventLease ToEventLease(const LeaseInfo& info) {
  return {.copy = ToEventCopy(*info.content),
          .lease_id = info.id.value(),
          .peer = {.pid = info.peer.pid, .uid = info.peer.uid}};
}

bool IsOn(const LeaseInfo& info, const std::vector<CopyInfo>& copies) {
  return std::any_of(copies.begin(), copies.end(),
                     [&](const CopyInfo& copy) { return copy.copy == info.content->copy; });
}

absl::Status TicketInvalid() {
  return ErrorWithReason(absl::StatusCode::kPermissionDenied, Reason::kTicketInvalid,
                         "the ticket is unknown, used, or another process's; attach again");
}

}  // namespace

absl::Status LeaseOptions::Validate() const {
  if (leases_per_uid_max < 1 || leases_per_uid_max > 65536) {
    return absl::InvalidArgumentError(
        absl::StrCat("leases_per_uid_max is ", leases_per_uid_max, ", wanted 1 to 65536"));
  }
  if (leases_max < 1 || leases_max > 65536) {
    return absl::InvalidArgumentError(
        absl::StrCat("leases_max is ", leases_max, ", wanted 1 to 65536"));
  }
  return absl::OkStatus();
}

LeaseTable::LeaseTable(const LeaseOptions& options, Residency& residency, EventLog& events,
                       const Clock& clock)
    : residency_(residency), events_(events), clock_(clock), options_(options) {
  residency_.set_supersede_listener(
      [this](CopyId old, GenerationId newer) { NotifySuperseded(old, newer); });
  residency_.set_damage_listener([this](CopyId damaged) { NotifyDamaged(damaged); });
}

LeaseTable::~LeaseTable() {
  residency_.set_supersede_listener(nullptr);
  residency_.set_damage_listener(nullptr);
  absl::MutexLock lock(&mu_);
  WEIGHTD_CHECK(leases_.empty());
}

absl::Status LeaseTable::CheckMayGrant(uint32_t uid) const {
  absl::MutexLock lock(&mu_);
  return CheckLimits(uid);
}

absl::Status LeaseTable::CheckLimits(uint32_t uid) const {
  if (draining_) {
    return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kDraining,
                           "the daemon is shutting down");
  }
  const auto held = leases_per_uid_.find(uid);
  if (held != leases_per_uid_.end() && held->second >= options_.leases_per_uid_max) {
    return ErrorWithReason(
        absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
        absl::StrCat("uid ", uid, " holds ", held->second, " leases, leases_per_uid_max"));
  }
  if (leases_.size() >= options_.leases_max) {
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
                           absl::StrCat(leases_.size(), " leases are held, leases_max"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> LeaseTable::ExportHandle(const HeldCopy& held, const Peer& peer) const {
  if (held.content->device.kind == DeviceKind::kHost) return std::string();
  if (!peer.same_pid_namespace) {
    return ErrorWithReason(
        absl::StatusCode::kFailedPrecondition, Reason::kHandleUnusable,
        absl::StrCat("CUDA IPC does not work between PID namespaces, and process ", peer.pid,
                     " is in another one; share it (shareProcessNamespace, --pid=container:...) "
                     "or stage the model on host"));
  }
  ASSIGN_OR_RETURN(Export exported, held.allocation->CreateExport());
  return std::move(exported.cuda_ipc_handle);
}

absl::StatusOr<Grant> LeaseTable::GrantLease(LeaseRequest request) {
  RETURN_IF_ERROR(CheckMayGrant(request.peer.uid));
  ASSIGN_OR_RETURN(HeldCopy held, residency_.Acquire(request.model, request.device));
  return GrantOn(std::move(request), std::move(held));
}

absl::StatusOr<Grant> LeaseTable::GrantHeld(LeaseRequest request, const CopyHold& hold) {
  ASSIGN_OR_RETURN(HeldCopy held, residency_.AcquireHeld(hold));
  return GrantOn(std::move(request), std::move(held));
}

absl::StatusOr<Grant> LeaseTable::GrantOn(LeaseRequest request, HeldCopy held) {
  const CopyId copy = held.content->copy;
  const auto give_back = [&] {
    held.allocation.reset();
    residency_.Release(copy);
  };
  absl::StatusOr<std::string> handle = ExportHandle(held, request.peer);
  absl::StatusOr<std::string> ticket =
      handle.ok() && handle->empty() ? MakeTicket() : absl::StatusOr<std::string>(std::string());
  if (!handle.ok() || !ticket.ok()) {
    give_back();
    return handle.ok() ? ticket.status() : handle.status();
  }

  ToTell to_tell;
  absl::StatusOr<Grant> grant =
      AddLease(request, held, *std::move(handle), *std::move(ticket), to_tell);
  if (!grant.ok()) {
    give_back();
    return grant.status();
  }
  Tell(to_tell);
  PublishGranted({.id = grant->lease,
                  .peer = request.peer,
                  .client_name = request.client_name,
                  .content = grant->content,
                  .since = {}},
                 request.job, request.asked_time);
  return grant;
}

absl::StatusOr<Grant> LeaseTable::AddLease(const LeaseRequest& request, HeldCopy& held,
                                           std::string handle, std::string ticket,
                                           ToTell& to_tell) {
  Grant grant;
  grant.content = held.content;
  grant.cuda_ipc_handle = std::move(handle);
  grant.ticket = std::move(ticket);
  LeaseInfo info = {.id = {},
                    .peer = request.peer,
                    .client_name = request.client_name,
                    .content = held.content,
                    .since = clock_.Now()};
  Lease lease;
  lease.ticket = grant.ticket;
  if (request.on_notice) lease.notices = std::make_shared<Notices>(request.on_notice);

  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(CheckLimits(request.peer.uid));
  // What happened to the copy since it was acquired found no lease to tell.
  const CopyInfo now = residency_.InfoOf(held.content->copy);
  if (now.state != ResidencyState::kResident) return EvictedByForceError(now.model, now.device);
  grant.lease = LeaseId(next_id_++);
  info.id = grant.lease;
  lease.info = std::make_shared<const LeaseInfo>(std::move(info));
  lease.allocation = std::move(held.allocation);
  Supersede(lease, now.superseded_by, to_tell);
  if (!grant.ticket.empty()) tickets_[grant.ticket] = grant.lease;
  ++leases_per_uid_[request.peer.uid];
  leases_.emplace(grant.lease, std::move(lease));
  return grant;
}

bool LeaseTable::TakeOut(LeaseId id, TakenOut how, absl::string_view why) {
  const bool is_revoked = how == TakenOut::kRevoked;
  Lease lease;
  {
    absl::MutexLock lock(&mu_);
    const auto found = leases_.find(id);
    if (found == leases_.end()) return false;
    lease = std::move(found->second);
    leases_.erase(found);
    if (is_revoked && lease.notices != nullptr) revoked_[id] = lease.notices;
    if (!lease.ticket.empty()) tickets_.erase(lease.ticket);
    const auto held = leases_per_uid_.find(lease.info->peer.uid);
    if (--held->second == 0) leases_per_uid_.erase(held);
  }
  if (lease.notices != nullptr) {
    if (is_revoked) {
      lease.notices->Put({.kind = LeaseNotice::Kind::kRevoked});
      lease.notices->Deliver();
    } else {
      lease.notices->Stop();
    }
  }
  lease.allocation.reset();  // the table of copies has the last reference
  const LeaseInfo& info = *lease.info;
  const absl::Duration time = clock_.Now() - info.since;
  const EventLease ended = ToEventLease(info);
  events_.Publish(is_revoked ? Event::LeaseRevoked(ended, std::string(why), time)
                             : Event::LeaseEnded(ended, kStreamEnded, std::string(why), time));
  residency_.Release(info.content->copy);
  return true;
}

void LeaseTable::End(LeaseId id, absl::string_view why) {
  if (TakeOut(id, TakenOut::kEnded, why)) return;
  std::shared_ptr<Notices> revoked;
  {
    absl::MutexLock lock(&mu_);
    const auto found = revoked_.find(id);
    if (found == revoked_.end()) return;
    revoked = std::move(found->second);
    revoked_.erase(found);
  }
  revoked->Stop();
}

void LeaseTable::Put(const Lease& lease, const LeaseNotice& notice, ToTell& to_tell) {
  if (lease.notices == nullptr) return;
  lease.notices->Put(notice);
  to_tell.push_back(lease.notices);
}

void LeaseTable::Tell(const ToTell& to_tell) {
  for (const std::shared_ptr<Notices>& notices : to_tell) notices->Deliver();
}

void LeaseTable::NotifyRevoking(const std::vector<CopyInfo>& copies, absl::Time deadline) {
  ToTell to_tell;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, lease] : leases_) {
      if (!IsOn(*lease.info, copies)) continue;
      Put(lease, {.kind = LeaseNotice::Kind::kRevoking, .deadline = deadline}, to_tell);
    }
  }
  Tell(to_tell);
}

uint32_t LeaseTable::Revoke(const std::vector<CopyInfo>& copies) {
  std::vector<LeaseId> ids;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, lease] : leases_) {
      if (IsOn(*lease.info, copies)) ids.push_back(id);
    }
  }
  uint32_t revoked = 0;
  for (const LeaseId id : ids) {
    if (TakeOut(id, TakenOut::kRevoked, "evicted by force")) ++revoked;
  }
  return revoked;
}

absl::StatusOr<std::vector<UniqueFd>> LeaseTable::RedeemTicket(absl::string_view ticket,
                                                               const Peer& peer) {
  // The lock is held across dup(2), which waits for nothing: so the lease cannot end meanwhile, and
  // its memory is in the books for as long as somebody here refers to it.
  absl::MutexLock lock(&mu_);
  const auto found = tickets_.find(std::string(ticket));
  if (found == tickets_.end()) return TicketInvalid();
  Lease& lease = leases_.at(found->second);
  if (lease.info->peer.pid != peer.pid || lease.info->peer.uid != peer.uid) return TicketInvalid();
  ASSIGN_OR_RETURN(Export exported, lease.allocation->CreateExport());
  tickets_.erase(found);
  lease.ticket.clear();
  std::vector<UniqueFd> fds;
  fds.push_back(std::move(exported.fd));
  return fds;
}

// Once for each generation: the publisher and the grant of a lease may both find it.
void LeaseTable::Supersede(Lease& lease, GenerationId newer, ToTell& to_tell) {
  if (!newer.valid() || newer == lease.last_told || newer == lease.info->content->id) return;
  lease.last_told = newer;
  Put(lease, {.kind = LeaseNotice::Kind::kSuperseded, .generation = newer}, to_tell);
}

void LeaseTable::NotifySuperseded(CopyId old, GenerationId newer) {
  ToTell to_tell;
  {
    absl::MutexLock lock(&mu_);
    for (auto& [id, lease] : leases_) {
      if (lease.info->content->copy == old) Supersede(lease, newer, to_tell);
    }
  }
  Tell(to_tell);
}

void LeaseTable::NotifyDamaged(CopyId damaged) {
  ToTell to_tell;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, lease] : leases_) {
      if (lease.info->content->copy != damaged) continue;
      Put(lease, {.kind = LeaseNotice::Kind::kDamaged}, to_tell);
    }
  }
  Tell(to_tell);
}

void LeaseTable::set_limits(const LeaseOptions& limits) {
  absl::MutexLock lock(&mu_);
  options_ = limits;
}

void LeaseTable::NotifyDraining(absl::Time deadline) {
  ToTell to_tell;
  {
    absl::MutexLock lock(&mu_);
    draining_ = true;
    for (const auto& [id, lease] : leases_) {
      Put(lease, {.kind = LeaseNotice::Kind::kDraining, .deadline = deadline}, to_tell);
    }
  }
  Tell(to_tell);
}

std::vector<LeaseInfo> LeaseTable::List(absl::string_view model) const {
  std::vector<std::shared_ptr<const LeaseInfo>> found;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, lease] : leases_) {
      if (model.empty() || lease.info->content->model == model) found.push_back(lease.info);
    }
  }
  std::vector<LeaseInfo> all;
  all.reserve(found.size());
  for (const auto& info : found) all.push_back(*info);
  return all;
}

uint32_t LeaseTable::count() const {
  absl::MutexLock lock(&mu_);
  return static_cast<uint32_t>(leases_.size());
}

void LeaseTable::WaitUntilEmpty(absl::Time deadline) const {
  absl::MutexLock lock(&mu_);
  const auto is_empty = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return leases_.empty(); };
  mu_.AwaitWithDeadline(absl::Condition(&is_empty), deadline);
}

void LeaseTable::PublishGranted(const LeaseInfo& info, JobId job, absl::Time asked_time) {
  const absl::Duration waited =
      asked_time == absl::InfinitePast() ? absl::ZeroDuration() : clock_.Now() - asked_time;
  events_.Publish(Event::LeaseGranted(ToEventLease(info), info.client_name, job, waited));
}

}  // namespace weightd
