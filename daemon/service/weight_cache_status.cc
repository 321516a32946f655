// The part of weight_cache_service.h that tells how the daemon is.

#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/service/grpc_status.h"
#include "daemon/service/proto_convert.h"
#include "daemon/service/unary_calls.h"
#include "daemon/service/weight_cache_service.h"

namespace weightd {

void WeightCacheService::FillStuck(const RootLook& look, v1::VolumeStatus& volume) const {
  absl::Duration oldest = -absl::InfiniteDuration();
  std::vector<std::pair<absl::Duration, v1::StuckCall>> calls;  // with how long they hang
  for (const StuckStage& stage : d_.residency.stuck()) {
    if (stage.root != look.root) continue;
    volume.set_reads_stuck(volume.reads_stuck() + stage.reads);
    volume.set_bytes_stuck(volume.bytes_stuck() + stage.bytes);
    const std::string at = absl::StrCat(stage.file, " at ", stage.offset);
    v1::StuckCall& call = calls.emplace_back(stage.age, v1::StuckCall()).second;
    call.set_what(absl::StrCat("read ", at));
    call.set_calls(stage.reads);
    call.set_model(stage.model);
    call.set_bytes(stage.bytes);
    if (stage.age <= oldest) continue;
    oldest = stage.age;
    volume.set_reads_stuck_at(at);
    ToProto(absl::Now() - stage.age, *volume.mutable_reads_stuck_since());
  }
  if (look.threads.stuck > 0) {
    v1::StuckCall& call = calls.emplace_back(look.threads.stuck_for, v1::StuckCall()).second;
    call.set_what(look.threads.stuck_what);
    call.set_calls(look.threads.stuck);
  }
  std::stable_sort(calls.begin(), calls.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (auto& [age, call] : calls) {
    ToProto(absl::Now() - age, *call.mutable_since());
    *volume.add_stuck() = std::move(call);
  }
}

void WeightCacheService::FillStatus(v1::GetStatusResponse& response) const {
  response.set_version(d_.info.version);
  ToProto(d_.info.start_time, *response.mutable_start_time());
  response.set_pid(::getpid());
  for (const std::string& root : d_.info.roots) response.add_roots(AbsolutePath(root));
  response.set_socket_dir(AbsolutePath(d_.info.socket_dir));
  response.set_draining(draining_.load());
  response.set_default_device(d_.residency.default_device());
  response.set_state_file(AbsolutePath(d_.info.state_file));
  if (!d_.info.state_file.empty()) FillStateFile(d_.info, *response.mutable_state());
  for (const RootLook& look : d_.info.looks()) {
    v1::RootWatch& watch = *response.add_root_watches();
    watch.set_root(AbsolutePath(look.root));
    watch.set_notified(look.notified);
    watch.set_reason(look.reason);
    v1::VolumeStatus& volume = *response.add_volumes();
    ToProto(look, volume);
    FillStuck(look, volume);
  }
  const std::vector<DeviceUsage> usage = d_.residency.Usage();
  for (size_t i = 0; i < usage.size(); ++i) {
    v1::Device& device = *response.add_devices();
    ToProto(usage[i], d_.residency.devices()[i]->info(), device);
    device.set_pages(d_.residency.devices()[i]->pages());
  }
  const ReadPathInfo path = d_.residency.read_path();
  v1::StorageStatus& storage = *response.mutable_storage();
  storage.set_engine(std::string(ReadEngineName(path.engine)));
  storage.set_engine_reason(d_.info.engine_reason);
  storage.set_block_bytes(path.block_bytes);
  storage.set_pool_bytes(path.pool_bytes);
  storage.set_pool_pages(std::string(PageKindName(path.pool_pages)));
  const auto add = [&response](const Warnings& warnings) {
    for (const Warning& warning : warnings) ToProto(warning, *response.add_warnings());
  };
  add(AllWarnings(d_.info));
  add(path.fallbacks);
  for (const auto& device : d_.residency.devices()) add(device->warnings());
  const Residency::JobCounts jobs = d_.residency.job_counts();
  response.set_jobs_running(jobs.running);
  response.set_jobs_queued(jobs.queued);
  response.set_lease_count(d_.leases.count());
  for (v1::Preload& preload : d_.preloads.List()) *response.add_preloads() = std::move(preload);
}

grpc::ServerUnaryReactor* WeightCacheService::GetStatus(grpc::CallbackServerContext* context,
                                                        const v1::GetStatusRequest*,
                                                        v1::GetStatusResponse* response) {
  absl::StatusOr<Caller> caller = Authorize(*context, Right::kAttach, false);
  const absl::Status status = caller.status();
  if (status.ok()) FillStatus(*response);
  return AnswerNow(std::move(caller), *response, ToGrpcStatus(status));
}

grpc::ServerUnaryReactor* WeightCacheService::ListStageReports(
    grpc::CallbackServerContext* context, const v1::ListStageReportsRequest*,
    v1::ListStageReportsResponse* response) {
  return Blocking(*context, Right::kAttach, false, *d_.pools.lists, *response, [this, response] {
    for (const StageRecord& record : d_.residency.reports()) {
      ToProto(record, *response->add_reports());
    }
    return absl::OkStatus();
  });
}

}  // namespace weightd
