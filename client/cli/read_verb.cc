#include <weightd/client.h>

#include <algorithm>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/cli/verbs.h"
#include "client/cpp/cuda_mapping.h"
#include "client/cpp/public_status.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

// What a GPU's bytes are copied through.
constexpr uint64_t kCopyBytes = uint64_t{16} << 20;

struct ReadArguments {
  std::string model;
  std::string tensor;
  std::string device;
  bool wait = false;
};

// What cannot be written makes `out` bad; RunWeightctl() tells.
absl::Status WriteFromGpu(std::ostream& out, const client::Tensor& tensor) {
  std::vector<char> buffer(std::min(tensor.bytes, kCopyBytes));
  const char* from = static_cast<const char*>(tensor.data);
  const std::string gpu(tensor.device);
  for (uint64_t done = 0; done < tensor.bytes && out.good();) {
    const uint64_t part = std::min<uint64_t>(buffer.size(), tensor.bytes - done);
    RETURN_IF_ERROR(client::CopyFromGpu(gpu, from + done, buffer.data(), part));
    out.write(buffer.data(), static_cast<std::streamsize>(part));
    done += part;
  }
  return absl::OkStatus();
}

absl::Status RunRead(Invocation& invocation, const ReadArguments& arguments) {
  invocation.what = absl::StrCat("read ", arguments.model, " ", arguments.tensor);
  const client::Result<client::Mapping> mapping = client::Attach(
      arguments.model,
      {.socket_dir = invocation.options.default_socket_dir ? "" : invocation.options.socket_dir,
       .device = arguments.device,
       .client_name = "weightctl read",
       .timeout = absl::ToChronoMilliseconds(
           std::min(std::max(invocation.options.timeout, absl::Milliseconds(1)), absl::Hours(24))),
       .policy = arguments.wait ? client::AttachPolicy::kWait : client::AttachPolicy::kRequire});
  if (!mapping.ok()) return client::FromPublicStatus(mapping.status());
  const client::Tensor* tensor = mapping->Find(arguments.tensor);
  if (tensor == nullptr) {
    return absl::NotFoundError(absl::StrCat("the model has no such tensor; `weightctl tensors ",
                                            arguments.model, "` lists them"));
  }
  std::ostream& out = invocation.io.out;
  if (tensor->device != "host") return WriteFromGpu(out, *tensor);
  out.write(static_cast<const char*>(tensor->data), static_cast<std::streamsize>(tensor->bytes));
  return absl::OkStatus();
}

}  // namespace

void AddReadVerb(CLI::App& app, Invocation& invocation) {
  const auto arguments = std::make_shared<ReadArguments>();
  CLI::App* verb = AddVerb(app, invocation, "read",
                           [&invocation, arguments] { return RunRead(invocation, *arguments); });
  verb->add_option("MODEL", arguments->model, kModelHelp)->required();
  verb->add_option("TENSOR", arguments->tensor, "as `weightctl tensors` lists it")->required();
  verb->add_option("--device", arguments->device,
                   "`host` or a GPU's UUID; default: the daemon's default device")
      ->type_name("DEVICE");
  verb->add_flag("--wait", arguments->wait, "have it staged where it is not resident, and wait");
}

}  // namespace weightd::cli
