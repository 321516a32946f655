#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/daemon.h"
#include "client/cli/json.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"
#include "client/cli/verbs.h"
#include "common/format_units.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

struct ModelArguments {
  std::string model;
  std::string device;
};

struct StageArguments : ModelArguments {
  bool wait = false;
  bool pin = false;
  bool restage = false;
  uint64_t bytes_per_second_max = 0;
};

void PrintStaged(const std::string& model, const v1::StageModelResponse& last, std::ostream& out) {
  const v1::Generation& generation = last.generation();
  out << Printable(model) << (last.already_resident() ? " is resident on " : " resident on ")
      << Printable(generation.device()) << ": " << FormatBytes(generation.tensor_bytes()) << ", "
      << Counted(generation.tensor_count(), "tensor") << ", generation " << generation.id();
  const std::string rate = FormatRate(last.bytes_per_second());
  if (!last.already_resident() && !rate.empty()) out << ", " << rate;
  out << '\n';
}

void PrintStageResult(const Invocation& invocation, const std::string& model,
                      const v1::StageModelResponse& last) {
  std::ostream& out = invocation.io.out;
  if (invocation.json()) {
    out << JsonDocument(ToJson(last));
  } else if (last.phase() == v1::STAGED) {
    PrintStaged(model, last, out);
  } else {
    out << Printable(model) << ": job " << last.job_id()
        << (last.joined() ? " runs already" : " accepted") << ", " << PhaseName(last.phase())
        << '\n';
  }
}

// With --wait the stream is followed to its end, and leaving it cancels the job. Without, the job
// is detached and its first message is enough.
absl::Status RunStage(Invocation& invocation, const StageArguments& arguments) {
  invocation.what = absl::StrCat("stage ", arguments.model);
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  v1::StageModelRequest request;
  request.set_model(arguments.model);
  request.set_device(arguments.device);
  request.set_pin(arguments.pin);
  request.set_restage(arguments.restage);
  request.set_bytes_per_second_max(arguments.bytes_per_second_max);
  request.set_detached(!arguments.wait);
  v1::StageModelResponse last;
  bool answered = false;
  {
    ProgressPrinter progress(invocation.io.err, invocation.io.err_is_terminal, arguments.model);
    const auto take = [&](const v1::StageModelResponse& response) {
      last = response;
      answered = true;
      if (response.phase() == v1::STAGED || !arguments.wait) return Next::kStop;
      progress.Show(response);
      return Next::kContinue;
    };
    const absl::Duration timeout =
        arguments.wait ? invocation.options.stream_timeout() : invocation.options.timeout;
    RETURN_IF_ERROR((daemon.Stream<v1::StageModelRequest, v1::StageModelResponse>(
        &v1::WeightCache::Stub::StageModel, request, timeout, take)));
  }
  if (!answered || (arguments.wait && last.phase() != v1::STAGED)) {
    return absl::InternalError("weightd ended the stream before the model was resident");
  }
  PrintStageResult(invocation, arguments.model, last);
  return absl::OkStatus();
}

absl::Status RunEvict(Invocation& invocation, const ModelArguments& arguments) {
  invocation.what = absl::StrCat("evict ", arguments.model);
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  v1::EvictModelRequest request;
  request.set_model(arguments.model);
  request.set_device(arguments.device);
  ASSIGN_OR_RETURN(const v1::EvictModelResponse response,
                   daemon.Call(&v1::WeightCache::Stub::EvictModel, request));
  if (invocation.json()) {
    invocation.io.out << JsonDocument(ToJson(response));
  } else {
    invocation.io.out << Printable(arguments.model) << ": "
                      << Counted(response.generations(), "generation") << " evicted, "
                      << FormatBytes(response.bytes_freed()) << " freed\n";
  }
  return absl::OkStatus();
}

// PinModel and UnpinModel differ in their names only.
template <typename Request, typename Response>
absl::Status RunPinning(Invocation& invocation, const ModelArguments& arguments,
                        grpc::Status (v1::WeightCache::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                        const char* verb) {
  invocation.what = absl::StrCat(verb, " ", arguments.model);
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(invocation.options));
  Request request;
  request.set_model(arguments.model);
  request.set_device(arguments.device);
  ASSIGN_OR_RETURN(const Response response, daemon.Call(method, request));
  if (invocation.json()) {
    invocation.io.out << JsonDocument(ToJson(response));
    return absl::OkStatus();
  }
  for (const v1::Generation& generation : response.generations()) {
    invocation.io.out << Printable(arguments.model) << ": generation " << generation.id() << " on "
                      << Printable(generation.device())
                      << (generation.pinned() ? " is pinned\n" : " is not pinned\n");
  }
  return absl::OkStatus();
}

void AddModelArguments(CLI::App* verb, ModelArguments& arguments, const char* default_device) {
  verb->add_option("MODEL", arguments.model)->required();
  verb->add_option("--device", arguments.device,
                   absl::StrCat("`host` or a GPU's UUID; default: ", default_device))
      ->type_name("DEVICE");
}

}  // namespace

void AddStageVerbs(CLI::App& app, Invocation& invocation) {
  const auto stage = std::make_shared<StageArguments>();
  CLI::App* verb = AddVerb(app, invocation, "stage", "Bring a model into memory",
                           [&invocation, stage] { return RunStage(invocation, *stage); });
  AddModelArguments(verb, *stage, "the daemon's default device");
  verb->add_flag("--wait", stage->wait,
                 "show progress until it is resident; leaving cancels the job");
  verb->add_flag("--pin", stage->pin, "pin it as soon as it is resident");
  verb->add_flag("--restage", stage->restage, "stage again although it is resident and unchanged");
  verb->add_option("--bandwidth", stage->bytes_per_second_max,
                   "read at most so many bytes per second of the volume: 500MB, 1GiB")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->type_name("BYTES");

  const auto model = std::make_shared<ModelArguments>();
  verb = AddVerb(app, invocation, "evict", "Give a model's memory back",
                 [&invocation, model] { return RunEvict(invocation, *model); });
  AddModelArguments(verb, *model, "every device where it is");
  verb = AddVerb(app, invocation, "pin", "Keep a resident model in memory", [&invocation, model] {
    return RunPinning(invocation, *model, &v1::WeightCache::Stub::PinModel, "pin");
  });
  AddModelArguments(verb, *model, "every device where it is");
  verb = AddVerb(app, invocation, "unpin", "Take a pin back", [&invocation, model] {
    return RunPinning(invocation, *model, &v1::WeightCache::Stub::UnpinModel, "unpin");
  });
  AddModelArguments(verb, *model, "every device where it is");
}

}  // namespace weightd::cli
