#include <weightd/client.h>
#include <weightd/weightd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <exception>
#include <new>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The C face of the C++ library, and nothing more: what the C++ interface has without a NUL gets
// one.

struct weightd_error {
  weightd::client::Status status;
  std::string text;
};

struct weightd_mapping {
  weightd::client::Mapping mapping;
  std::deque<std::string> strings;      // they do not move
  std::vector<weightd_tensor> tensors;  // like mapping.tensors()
};

struct weightd_cancellation {
  std::stop_source source;
};

namespace {

using weightd::client::AttachOptions;
using weightd::client::AttachPolicy;
using weightd::client::Notice;
using weightd::client::Progress;
using weightd::client::Status;
using weightd::client::StatusCode;
using weightd::client::Tensor;

weightd_error* MakeError(const Status& status) {
  return new weightd_error{.status = status, .text = status.ToString()};
}

int64_t UnixMilliseconds(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

int KindOf(Notice::Kind kind) {
  switch (kind) {
    case Notice::Kind::kSuperseded:
      return WEIGHTD_NOTICE_SUPERSEDED;
    case Notice::Kind::kDraining:
      return WEIGHTD_NOTICE_DRAINING;
    case Notice::Kind::kRevoking:
      return WEIGHTD_NOTICE_REVOKING;
    case Notice::Kind::kDamaged:
      return WEIGHTD_NOTICE_DAMAGED;
    case Notice::Kind::kLeaseLost:
      break;
  }
  return WEIGHTD_NOTICE_LEASE_LOST;
}

int PhaseOf(Progress::Phase phase) {
  switch (phase) {
    case Progress::Phase::kPlanning:
      return WEIGHTD_PLANNING;
    case Progress::Phase::kReading:
      return WEIGHTD_READING;
    case Progress::Phase::kPublishing:
      return WEIGHTD_PUBLISHING;
    case Progress::Phase::kStaged:
      return WEIGHTD_STAGED;
    case Progress::Phase::kQueued:
      break;
  }
  return WEIGHTD_QUEUED;
}

void CallOnNotice(const weightd_attach_options& options, const Notice& from) {
  const std::string text = from.status.ok() ? "" : from.status.ToString();
  const weightd_notice notice = {.kind = KindOf(from.kind),
                                 .generation_id = from.generation_id,
                                 .deadline_unix_ms = UnixMilliseconds(from.deadline),
                                 .text = text.c_str()};
  options.on_notice(&notice, options.user_data);
}

void CallOnProgress(const weightd_attach_options& options, const Progress& from) {
  const weightd_progress progress = {.phase = PhaseOf(from.phase),
                                     .jobs_ahead = from.jobs_ahead,
                                     .bytes_done = from.bytes_done,
                                     .bytes_total = from.bytes_total,
                                     .bytes_per_second = from.bytes_per_second};
  options.on_progress(&progress, options.user_data);
}

std::string TextOf(const char* text) { return text == nullptr ? std::string() : text; }

AttachOptions ToOptions(const weightd_attach_options& given) {
  // What an older caller's structure lacks keeps its default.
  weightd_attach_options known = WEIGHTD_ATTACH_OPTIONS_INIT;
  std::memcpy(&known, &given, std::min(given.struct_bytes, sizeof(known)));
  AttachOptions options;
  options.socket_dir = TextOf(known.socket_dir);
  options.device = TextOf(known.device);
  options.client_name = TextOf(known.client_name);
  options.timeout = std::chrono::milliseconds(known.timeout_ms);
  options.policy = known.policy == WEIGHTD_WAIT ? AttachPolicy::kWait : AttachPolicy::kRequire;
  options.wait_timeout = std::chrono::milliseconds(known.wait_timeout_ms);
  if (known.cancellation != nullptr) options.stop_token = known.cancellation->source.get_token();
  if (known.on_notice != nullptr) {
    options.on_notice = [known](const Notice& notice) { CallOnNotice(known, notice); };
  }
  if (known.on_progress != nullptr) {
    options.on_progress = [known](const Progress& progress) { CallOnProgress(known, progress); };
  }
  return options;
}

weightd_tensor ToC(const Tensor& tensor, std::deque<std::string>& strings) {
  const auto with_nul = [&](std::string_view text) {
    return text.empty() ? "" : strings.emplace_back(text).c_str();
  };
  return {.name = with_nul(tensor.name),
          .name_bytes = tensor.name.size(),
          .data = tensor.data,
          .bytes = tensor.bytes,
          .dtype = static_cast<weightd_dtype>(tensor.dtype),
          .torch_dtype = with_nul(tensor.torch_dtype),
          .rank = static_cast<uint32_t>(tensor.shape.size()),
          .shape = tensor.shape.data(),
          .strides = tensor.strides.empty() ? nullptr : tensor.strides.data(),
          .xxh3_128 = with_nul(tensor.xxh3_128)};
}

weightd_error* Attach(const char* model, const weightd_attach_options* options,
                      weightd_mapping** mapping) {
  if (model == nullptr || mapping == nullptr) {
    return MakeError(
        Status(StatusCode::kInvalidArgument, "INVALID_REQUEST", "attach: a pointer is NULL"));
  }
  *mapping = nullptr;
  weightd::client::Result<weightd::client::Mapping> attached =
      weightd::client::Attach(model, options == nullptr ? AttachOptions() : ToOptions(*options));
  if (!attached.ok()) return MakeError(attached.status());
  auto made = std::make_unique<weightd_mapping>();
  made->mapping = *std::move(attached);
  made->tensors.reserve(made->mapping.tensors().size());
  for (const Tensor& tensor : made->mapping.tensors()) {
    made->tensors.push_back(ToC(tensor, made->strings));
  }
  *mapping = made.release();
  return nullptr;
}

}  // namespace

extern "C" {

const char* weightd_dtype_name(weightd_dtype dtype) {
  // Literals all of them, so they end with a NUL.
  return weightd::client::DTypeName(static_cast<weightd::client::DType>(dtype)).data();
}

uint32_t weightd_dtype_bits(weightd_dtype dtype) {
  return weightd::client::DTypeBits(static_cast<weightd::client::DType>(dtype));
}

int weightd_error_code(const weightd_error* error) {
  return static_cast<int>(error->status.code());
}
const char* weightd_error_reason(const weightd_error* error) {
  return error->status.reason().c_str();
}
const char* weightd_error_message(const weightd_error* error) {
  return error->status.message().c_str();
}
const char* weightd_error_text(const weightd_error* error) { return error->text.c_str(); }
void weightd_error_free(weightd_error* error) { delete error; }

weightd_cancellation* weightd_cancellation_new(void) {
  try {
    return new weightd_cancellation;
  } catch (const std::exception&) {
    return nullptr;
  }
}
void weightd_cancellation_cancel(weightd_cancellation* cancellation) {
  cancellation->source.request_stop();
}
void weightd_cancellation_free(weightd_cancellation* cancellation) { delete cancellation; }

weightd_error* weightd_attach(const char* model, const weightd_attach_options* options,
                              weightd_mapping** mapping) {
  try {
    return Attach(model, options, mapping);
  } catch (const std::exception& error) {  // no memory: there is no C++ on the other side
    return new (std::nothrow) weightd_error{
        .status = Status(StatusCode::kResourceExhausted, "", error.what()), .text = error.what()};
  }
}

void weightd_mapping_free(weightd_mapping* mapping) { delete mapping; }

size_t weightd_mapping_tensor_count(const weightd_mapping* mapping) {
  return mapping->tensors.size();
}

const weightd_tensor* weightd_mapping_tensor(const weightd_mapping* mapping, size_t index) {
  return index < mapping->tensors.size() ? &mapping->tensors[index] : nullptr;
}

const weightd_tensor* weightd_mapping_find(const weightd_mapping* mapping, const char* name) {
  const Tensor* found = mapping->mapping.Find(name);
  return found == nullptr
             ? nullptr
             : &mapping->tensors[static_cast<size_t>(found - mapping->mapping.tensors().data())];
}

const char* weightd_mapping_device(const weightd_mapping* mapping) {
  return mapping->mapping.device().c_str();
}
uint64_t weightd_mapping_generation_id(const weightd_mapping* mapping) {
  return mapping->mapping.generation_id();
}
uint64_t weightd_mapping_lease_id(const weightd_mapping* mapping) {
  return mapping->mapping.lease_id();
}
uint64_t weightd_mapping_total_bytes(const weightd_mapping* mapping) {
  return mapping->mapping.total_bytes();
}
int weightd_mapping_lease_held(const weightd_mapping* mapping) {
  return mapping->mapping.lease_held() ? 1 : 0;
}

const char* weightd_mapping_metadata(const weightd_mapping* mapping, const char* key) {
  const auto& metadata = mapping->mapping.metadata();
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : found->second.c_str();
}

}  // extern "C"
