#include "tests/unit/client/fake_grant.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/handle_protocol.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace weightd::testing {
namespace {

constexpr uint64_t kBatchTensors = 4000;

void AddTensor(Grant& grant, const std::string& name, v1::DType dtype,
               const std::vector<uint64_t>& shape, uint64_t offset, uint64_t bytes) {
  v1::Tensor* tensor = grant.batch.add_tensors();
  tensor->set_name(name);
  tensor->set_dtype(dtype);
  tensor->mutable_shape()->Assign(shape.begin(), shape.end());
  tensor->set_offset(offset);
  tensor->set_bytes(bytes);
  grant.granted.set_tensor_count(grant.granted.tensor_count() + 1);
  grant.granted.set_tensor_bytes(grant.granted.tensor_bytes() + bytes);
}

Grant EmptyGrant(uint64_t allocation_bytes) {
  Grant grant;
  grant.granted.set_lease_id(7);
  grant.granted.set_model("model");
  grant.granted.set_generation_id(3);
  grant.granted.set_device("host");
  grant.granted.set_revision("abc123");
  grant.granted.set_fd_ticket(std::string(kTicketBytes, 't'));
  (*grant.granted.mutable_metadata())["format"] = "pt";
  v1::Allocation* allocation = grant.granted.add_allocations();
  allocation->set_bytes(allocation_bytes);
  allocation->set_fd_index(0);
  return grant;
}

}  // namespace

grpc::Status RpcError(grpc::StatusCode code, absl::string_view reason, absl::string_view message) {
  google::rpc::ErrorInfo info;
  info.set_domain(std::string(kErrorDomain));
  info.set_reason(std::string(reason));
  google::rpc::Status details;
  details.set_code(code);
  details.set_message(std::string(message));
  details.add_details()->PackFrom(info);
  return {code, std::string(message), details.SerializeAsString()};
}

UniqueFd MakeMemfd(absl::string_view content, int seals) {
  UniqueFd memory(::memfd_create("weightd-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const ssize_t written = ::write(memory.get(), content.data(), content.size());
  if (written != static_cast<ssize_t>(content.size()) ||
      (seals != 0 && ::fcntl(memory.get(), F_ADD_SEALS, seals) != 0)) {
    throw std::runtime_error("make memfd");
  }
  return memory;
}

UniqueFd MakeSealedMemfd(absl::string_view content) {
  return MakeMemfd(content, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

std::vector<v1::AttachResponse> Grant::Messages() const {
  std::vector<v1::AttachResponse> messages;
  *messages.emplace_back().mutable_granted() = granted;
  const auto count = static_cast<uint64_t>(batch.tensors_size());
  for (uint64_t start = 0; start < count; start += kBatchTensors) {
    v1::TensorBatch& part = *messages.emplace_back().mutable_tensors();
    for (uint64_t i = start; i < std::min(count, start + kBatchTensors); ++i) {
      *part.add_tensors() = batch.tensors(static_cast<int>(i));
    }
  }
  messages.emplace_back().mutable_ready();
  return messages;
}

Grant SmallGrant() {
  Grant grant = EmptyGrant(SmallContent().size());
  AddTensor(grant, "a", v1::F32, {2, 3}, 0, 24);
  AddTensor(grant, "b", v1::U8, {}, 24, 1);
  AddTensor(grant, "c", v1::F4, {4}, 26, 2);
  AddTensor(grant, "empty", v1::F16, {0, 7}, 28, 0);
  return grant;
}

std::string SmallContent() {
  std::string content(64, '\0');
  std::iota(content.begin(), content.end(), '\0');
  return content;
}

Grant LargeGrant(uint64_t count) {
  Grant grant = EmptyGrant(count * 64);
  for (uint64_t i = 0; i < count; ++i) {
    AddTensor(grant, absl::StrCat("model.layers.", i / 10, ".self_attn.proj_", i % 10, ".weight"),
              v1::U8, {8, 8}, i * 64, 64);
  }
  return grant;
}

}  // namespace weightd::testing
