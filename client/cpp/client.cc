#include <unistd.h>
#include <weightd/client.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cpp/daemon_connection.h"
#include "client/cpp/mapping_impl.h"
#include "client/cpp/public_status.h"
#include "client/cpp/request_text.h"
#include "common/dtype.h"
#include "common/errors.h"
#include "common/socket_paths.h"
#include "common/status_macros.h"

namespace weightd::client {
namespace {

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

v1::AttachRequest ToRequest(absl::string_view model, const AttachOptions& options) {
  v1::AttachRequest request;
  request.set_model(std::string(model));
  request.set_device(options.device);
  request.set_client_name(options.client_name);
  request.set_policy(options.policy == AttachPolicy::kWait ? v1::WAIT : v1::REQUIRE);
  const auto wait_ms = options.wait_timeout.count();
  request.mutable_timeout()->set_seconds(wait_ms / 1000);
  request.mutable_timeout()->set_nanos(static_cast<int32_t>(wait_ms % 1000) * 1'000'000);
  return request;
}

absl::Status CheckAboveZero(absl::string_view name, std::chrono::milliseconds value) {
  if (value > std::chrono::milliseconds::zero()) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         absl::StrCat(name, " is ", value.count(), " ms, must be above 0"));
}

absl::Status Cancelled() {
  return ErrorWithReason(absl::StatusCode::kCancelled, Reason::kCancelled,
                         "the caller asked to stop");
}

// Waits for the grant, and maps while the tensors arrive.
absl::StatusOr<MappedMemory> MapGranted(AttachStream& stream, const SocketDirectory& socket_dir,
                                        const AttachOptions& options, absl::Time deadline) {
  const std::stop_callback stop(options.stop_token, [&stream] { stream.Abort(Cancelled()); });
  // The daemon ends the wait itself, and says why; this is for one that does not answer.
  const absl::Time end = absl::Now() + absl::FromChrono(options.wait_timeout + options.timeout);
  RETURN_IF_ERROR(stream.WaitForGrant(deadline, end));
  deadline = std::min(absl::Now() + absl::FromChrono(options.timeout), end);
  ASSIGN_OR_RETURN(MappedMemory memory, MappedMemory::Map(stream.granted(), socket_dir, deadline));
  RETURN_IF_ERROR(stream.WaitForReady(deadline));
  stream.table().SetBases(memory.bases());
  return memory;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Mapping::Impl>> Mapping::Impl::Attach(absl::string_view model,
                                                                     const AttachOptions& options) {
  RETURN_IF_ERROR(CheckAboveZero("timeout", options.timeout));
  RETURN_IF_ERROR(CheckAboveZero("wait_timeout", options.wait_timeout));
  const absl::Time deadline = absl::Now() + absl::FromChrono(options.timeout);
  const SocketDirectory socket_dir = ResolveSocketDir(options.socket_dir);
  if (options.stop_token.stop_requested()) return Cancelled();
  const v1::AttachRequest request = ToRequest(model, options);
  RETURN_IF_ERROR(CheckTexts(request));
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel(socket_dir, deadline));
  auto stream = std::make_unique<AttachStream>(
      std::move(channel), request, socket_dir,
      AttachCallbacks{.on_notice = options.on_notice, .on_progress = options.on_progress});
  ASSIGN_OR_RETURN(MappedMemory memory, MapGranted(*stream, socket_dir, options, deadline));
  // From here on a stop is too late; one that came just before may have ended the call.
  if (options.stop_token.stop_requested()) return Cancelled();
  return std::make_unique<Impl>(std::move(stream), std::move(memory));
}

Mapping::Impl::Impl(std::unique_ptr<AttachStream> stream, MappedMemory memory)
    : pid_(::getpid()),
      metadata_(stream->metadata()),
      stream_(std::move(stream)),
      memory_(std::move(memory)) {}

bool Mapping::Impl::owned_by_this_process() const { return pid_ == ::getpid(); }

Mapping::Mapping() = default;
Mapping::Mapping(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Mapping::Mapping(Mapping&& other) noexcept = default;

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    const Mapping old(std::move(*this));  // ends what was held
    impl_ = std::move(other.impl_);
  }
  return *this;
}

Mapping::~Mapping() {
  // After fork() the threads of gRPC and the state of CUDA are the parent's: leave them alone.
  if (impl_ != nullptr && !impl_->owned_by_this_process()) (void)impl_.release();
}

const Tensor* Mapping::Find(std::string_view name) const {
  return impl_ == nullptr ? nullptr : impl_->table().Find(ToAbsl(name));
}

std::span<const Tensor> Mapping::tensors() const {
  if (impl_ == nullptr) return {};
  return impl_->table().tensors();
}

namespace {

// What an empty Mapping answers.
const std::string& EmptyString() {
  static const std::string empty;
  return empty;
}

}  // namespace

const std::string& Mapping::model() const {
  return impl_ == nullptr ? EmptyString() : impl_->granted().model();
}

uint64_t Mapping::generation_id() const {
  return impl_ == nullptr ? 0 : impl_->granted().generation_id();
}

uint64_t Mapping::lease_id() const { return impl_ == nullptr ? 0 : impl_->granted().lease_id(); }

const std::string& Mapping::device() const {
  return impl_ == nullptr ? EmptyString() : impl_->granted().device();
}

const std::string& Mapping::revision() const {
  return impl_ == nullptr ? EmptyString() : impl_->granted().revision();
}

const std::map<std::string, std::string>& Mapping::metadata() const {
  static const std::map<std::string, std::string> empty;
  return impl_ == nullptr ? empty : impl_->metadata();
}

uint64_t Mapping::total_bytes() const {
  return impl_ == nullptr ? 0 : impl_->table().total_bytes();
}

bool Mapping::lease_held() const { return impl_ != nullptr && impl_->lease_held(); }

Result<Mapping> Attach(std::string_view model, const AttachOptions& options) {
  absl::StatusOr<std::unique_ptr<Mapping::Impl>> impl =
      Mapping::Impl::Attach(ToAbsl(model), options);
  if (!impl.ok()) {
    return ToPublicStatus(
        Annotate(impl.status(), absl::StrCat("attach ", absl::CHexEscape(ToAbsl(model)))));
  }
  return Mapping(*std::move(impl));
}

std::string_view DTypeName(DType dtype) {
  const auto known = DtypeFromValue(static_cast<int>(dtype));
  return known.has_value() ? ToStd(DtypeName(*known)) : "UNKNOWN";
}

std::uint32_t DTypeBits(DType dtype) {
  const auto known = DtypeFromValue(static_cast<int>(dtype));
  return known.has_value() ? weightd::DtypeBits(*known) : 0;
}

}  // namespace weightd::client
