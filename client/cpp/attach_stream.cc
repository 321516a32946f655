#include "client/cpp/attach_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cpp/daemon_connection.h"
#include "client/cpp/grant_check.h"
#include "client/cpp/public_status.h"
#include "common/status_macros.h"

namespace weightd::client {
namespace {

// A grant of a hundred tensors fits into the first block.
google::protobuf::ArenaOptions ArenaBlocks() {
  google::protobuf::ArenaOptions options;
  options.start_block_size = size_t{16} << 10;
  options.max_block_size = size_t{1} << 20;
  return options;
}

// Headers of shards have up to 100 MB each; no more than this is taken.
constexpr size_t kMetadataBytesMax = size_t{1} << 30;

absl::Status Unexpected(absl::string_view message) {
  return absl::InternalError(
      absl::StrCat("grant from weightd: message `", message, "` out of order"));
}

std::chrono::system_clock::time_point ToTimePoint(const google::protobuf::Timestamp& time) {
  return absl::ToChronoTime(absl::FromUnixSeconds(time.seconds()) +
                            absl::Nanoseconds(time.nanos()));
}

Progress::Phase ToPhase(v1::StagePhase phase) {
  switch (phase) {
    case v1::PLANNING:
      return Progress::Phase::kPlanning;
    case v1::READING:
      return Progress::Phase::kReading;
    case v1::PUBLISHING:
      return Progress::Phase::kPublishing;
    case v1::STAGED:
      return Progress::Phase::kStaged;
    default:
      return Progress::Phase::kQueued;
  }
}

Progress ToProgress(const v1::StageModelResponse& message) {
  return {.phase = ToPhase(message.phase()),
          .bytes_done = message.bytes_done(),
          .bytes_total = message.bytes_total(),
          .bytes_per_second = message.bytes_per_second(),
          .jobs_ahead = message.jobs_ahead()};
}

}  // namespace

AttachStream::AttachStream(std::shared_ptr<grpc::Channel> channel, const v1::AttachRequest& request,
                           SocketDirectory socket_dir, AttachCallbacks callbacks)
    : socket_dir_(std::move(socket_dir)),
      callbacks_(std::move(callbacks)),
      channel_(std::move(channel)),
      stub_(v1::WeightCache::NewStub(channel_)),
      request_(request),
      arena_(ArenaBlocks()) {
  stub_->async()->Attach(&context_, &request_, this);
  ReadNext();
  StartCall();
}

AttachStream::~AttachStream() {
  {
    const absl::MutexLock lock(&mu_);
    closing_ = true;
  }
  context_.TryCancel();
  const absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(&finished_));
}

void AttachStream::Abort(const absl::Status& status) {
  {
    const absl::MutexLock lock(&mu_);
    closing_ = true;
    failure_.Update(status);
  }
  context_.TryCancel();
}

void AttachStream::ReadNext() {
  arena_.Reset();
  message_ = google::protobuf::Arena::CreateMessage<v1::AttachResponse>(&arena_);
  StartRead(message_);
}

void AttachStream::OnReadDone(bool ok) {
  if (!ok) return;  // OnDone follows and says why
  const absl::Status status = Handle(*message_);
  if (status.ok()) {
    ReadNext();
    return;
  }
  {
    const absl::MutexLock lock(&mu_);
    failure_.Update(status);
  }
  context_.TryCancel();
}

void AttachStream::OnDone(const grpc::Status& status) {
  bool lost = false;
  Notice notice;
  {
    const absl::MutexLock lock(&mu_);
    lost = state_ == State::kReady && !closing_;
    state_ = State::kEnded;
    call_status_ = status;
    notice.status = ToPublicStatus(failure_.ok() ? FromRpcStatus(status) : failure_);
  }
  if (lost) {
    if (notice.status.ok()) {
      notice.status = Status(StatusCode::kUnavailable, "", "weightd ended the lease");
    }
    Notify(notice);
  }
  const absl::MutexLock lock(&mu_);
  finished_ = true;  // from here on the destructor may free this object
}

absl::Status AttachStream::Handle(v1::AttachResponse& message) {
  const State now = state();
  switch (message.message_case()) {
    case v1::AttachResponse::kProgress:
      if (now > State::kWaiting) return Unexpected("progress");
      MoveTo(State::kWaiting);
      if (callbacks_.on_progress) callbacks_.on_progress(ToProgress(message.progress()));
      return absl::OkStatus();
    case v1::AttachResponse::kGranted:
      if (now > State::kWaiting) return Unexpected("granted");
      return HandleGranted(*message.mutable_granted());
    case v1::AttachResponse::kMetadata:
      if (now != State::kGranted) return Unexpected("metadata");
      return HandleMetadata(message.metadata());
    case v1::AttachResponse::kTensors:
      if (now != State::kGranted) return Unexpected("tensors");
      return table_->Add(message.tensors());
    case v1::AttachResponse::kReady:
      if (now != State::kGranted) return Unexpected("ready");
      return HandleReady();
    case v1::AttachResponse::kSuperseded:
      if (now != State::kReady) return Unexpected("superseded");
      Notify({.kind = Notice::Kind::kSuperseded,
              .generation_id = message.superseded().generation_id()});
      return absl::OkStatus();
    case v1::AttachResponse::kDraining:
      if (now != State::kReady) return Unexpected("draining");
      Notify({.kind = Notice::Kind::kDraining,
              .deadline = ToTimePoint(message.draining().deadline())});
      return absl::OkStatus();
    case v1::AttachResponse::kRevoking:
      if (now != State::kReady) return Unexpected("revoking");
      Notify({.kind = Notice::Kind::kRevoking,
              .deadline = ToTimePoint(message.revoking().deadline())});
      return absl::OkStatus();
    case v1::AttachResponse::kDamaged:
      if (now != State::kReady) return Unexpected("damaged");
      Notify({.kind = Notice::Kind::kDamaged});
      return absl::OkStatus();
    case v1::AttachResponse::MESSAGE_NOT_SET:
      // A notice of a newer daemon; before `ready` nothing may be skipped.
      return now == State::kReady ? absl::OkStatus() : Unexpected("unknown");
  }
  return Unexpected("unknown");
}

absl::Status AttachStream::HandleGranted(v1::Granted& granted) {
  RETURN_IF_ERROR(CheckGranted(request_.model(), granted));
  table_ = std::make_unique<TensorTable>(granted);
  metadata_ = {granted.metadata().begin(), granted.metadata().end()};
  granted_ = std::make_unique<v1::Granted>(std::move(granted));
  MoveTo(State::kGranted);
  return absl::OkStatus();
}

absl::Status AttachStream::HandleMetadata(const v1::MetadataBatch& batch) {
  for (const v1::MetadataPiece& piece : batch.pieces()) {
    metadata_bytes_ += piece.key().size() + piece.value().size();
    if (metadata_bytes_ > kMetadataBytesMax) {
      return absl::InternalError(
          absl::StrCat("grant from weightd: metadata of more than ", kMetadataBytesMax, " bytes"));
    }
    metadata_key_.append(piece.key());
    metadata_value_.append(piece.value());
    metadata_continues_ = piece.continues();
    if (metadata_continues_) continue;
    metadata_.insert_or_assign(std::exchange(metadata_key_, {}),
                               std::exchange(metadata_value_, {}));
  }
  return absl::OkStatus();
}

absl::Status AttachStream::HandleReady() {
  if (metadata_continues_) return Unexpected("ready");
  RETURN_IF_ERROR(table_->CheckComplete());
  MoveTo(State::kReady);
  return absl::OkStatus();
}

void AttachStream::Notify(const Notice& notice) const {
  if (callbacks_.on_notice) callbacks_.on_notice(notice);
}

void AttachStream::MoveTo(State state) {
  const absl::MutexLock lock(&mu_);
  state_ = state;
}

AttachStream::State AttachStream::state() const {
  const absl::MutexLock lock(&mu_);
  return state_;
}

bool AttachStream::open() const { return state() != State::kEnded; }

bool AttachStream::Reached(State wanted) const { return state_ >= wanted || !failure_.ok(); }

absl::Status AttachStream::WaitFor(State wanted, absl::Time deadline, absl::string_view what) {
  std::optional<grpc::Status> call_status;
  {
    const absl::MutexLock lock(&mu_);
    const auto reached = [this, wanted]()
                             ABSL_SHARED_LOCKS_REQUIRED(mu_) { return Reached(wanted); };
    if (!mu_.AwaitWithDeadline(absl::Condition(&reached), deadline)) {
      return absl::DeadlineExceededError(absl::StrCat("timed out while waiting for ", what));
    }
    if (!failure_.ok()) return failure_;
    if (state_ != State::kEnded) return absl::OkStatus();
    call_status = call_status_;
  }
  if (call_status->ok()) {
    return absl::InternalError(absl::StrCat("grant from weightd: the stream ended before ", what));
  }
  return DiagnoseRpcStatus(*call_status, socket_dir_);
}

absl::Status AttachStream::WaitForGrant(absl::Time deadline, absl::Time wait_deadline) {
  RETURN_IF_ERROR(WaitFor(State::kWaiting, deadline, "the grant"));
  return WaitFor(State::kGranted, std::max(deadline, wait_deadline), "the model");
}

absl::Status AttachStream::WaitForReady(absl::Time deadline) {
  return WaitFor(State::kReady, deadline, "the tensors");
}

}  // namespace weightd::client
