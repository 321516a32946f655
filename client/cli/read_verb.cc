#include <weightd/client.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <ostream>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "client/cli/verbs.h"
#include "client/cpp/cuda_mapping.h"
#include "client/cpp/public_status.h"
#include "common/status_macros.h"
#include "common/thread.h"

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

// Asks to stop when `time` is over; never, where that is infinite. Attach() has a deadline for each
// of its steps, and a command one for all.
class Timer {
 public:
  static absl::StatusOr<std::unique_ptr<Timer>> Start(absl::Duration time) {
    auto timer = std::make_unique<Timer>();
    if (time == absl::InfiniteDuration()) return timer;
    ASSIGN_OR_RETURN(timer->thread_, Thread::Start("timeout", [timer = timer.get(), time] {
                       if (!timer->over_.WaitForNotificationWithTimeout(time))
                         timer->stop_.request_stop();
                     }));
    return timer;
  }
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { over_.Notify(); }

  const std::stop_source& stop() const { return stop_; }

 private:
  std::stop_source stop_;
  absl::Notification over_;
  Thread thread_;  // last: it uses the rest
};

std::chrono::milliseconds ToTimeout(absl::Duration time) {
  return absl::ToChronoMilliseconds(
      std::min(std::max(time, absl::Milliseconds(1)), absl::Hours(24)));
}

absl::StatusOr<client::Mapping> AttachTo(const Invocation& invocation,
                                         const ReadArguments& arguments) {
  const GlobalOptions& options = invocation.options;
  const absl::Duration whole = arguments.wait ? options.stream_timeout() : options.timeout;
  ASSIGN_OR_RETURN(const std::unique_ptr<Timer> timer, Timer::Start(whole));
  client::Result<client::Mapping> mapping = client::Attach(
      arguments.model,
      {.socket_dir = options.default_socket_dir ? "" : options.socket_dir,
       .device = arguments.device,
       .client_name = "weightctl read",
       .timeout = ToTimeout(options.timeout),
       .policy = arguments.wait ? client::AttachPolicy::kWait : client::AttachPolicy::kRequire,
       .wait_timeout = ToTimeout(whole),
       .stop_token = timer->stop().get_token()});
  if (mapping.ok()) return *std::move(mapping);
  if (!timer->stop().stop_requested()) return client::FromPublicStatus(mapping.status());
  return absl::DeadlineExceededError(
      absl::StrCat("not done within ", absl::FormatDuration(whole), " (--timeout)"));
}

absl::Status RunRead(Invocation& invocation, const ReadArguments& arguments) {
  invocation.what = absl::StrCat("read ", arguments.model, " ", arguments.tensor);
  ASSIGN_OR_RETURN(const client::Mapping mapping, AttachTo(invocation, arguments));
  const client::Tensor* tensor = mapping.Find(arguments.tensor);
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
