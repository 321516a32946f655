#include "daemon/service/diagnosis.h"

#include "common/environment_facts.h"
#include "daemon/device/driver_facts.h"
#include "daemon/service/proto_convert.h"

namespace weightd {
namespace {

void ToProto(const ProcessFacts& facts, v1::ProcessFacts& to) {
  to.set_pid_namespace(facts.pid_namespace);
  to.set_uid(facts.uid);
  to.set_gid(facts.gid);
  to.mutable_supplementary_gids()->Assign(facts.supplementary_gids.begin(),
                                          facts.supplementary_gids.end());
  to.set_seccomp_mode(facts.seccomp_mode);
  to.set_no_new_privileges(facts.no_new_privileges);
  to.set_memlock_bytes(facts.memlock_bytes);
  to.set_may_lock_memory(facts.may_lock_memory);
  to.set_open_files_max(facts.open_files_max);
}

void ToProto(const MachineFacts& facts, v1::MachineFacts& to) {
  to.set_kernel(facts.kernel);
  if (facts.io_uring_disabled.has_value()) to.set_io_uring_disabled(*facts.io_uring_disabled);
  to.set_io_uring_errno(static_cast<uint32_t>(facts.io_uring_errno));
  to.set_huge_page_bytes(facts.huge_page_bytes);
  to.set_huge_pages(facts.huge_pages);
  to.set_huge_pages_free(facts.huge_pages_free);
  to.set_transparent_huge_pages(facts.transparent_huge_pages);
  to.set_shmem_huge_pages(facts.shmem_huge_pages);
}

void ToProto(const RootFacts& facts, v1::RootFacts& to) {
  to.set_root(AbsolutePath(facts.root));
  to.set_kind(FileSystemKindName(facts.kind));
  to.set_file(facts.file);
  to.set_direct_alignment(facts.direct_alignment);
  to.set_error(facts.error);
  to.set_reason(facts.reason);
  if (!facts.speed.has_value()) return;
  to.set_bytes_read(facts.speed->bytes);
  weightd::ToProto(facts.speed->time, *to.mutable_read_time());
  to.set_direct(facts.speed->direct);
  to.set_engine(facts.speed->engine);
}

void ToProto(const DriverFacts& facts, v1::DriverFacts& to) {
  to.set_error(facts.error);
  to.set_cuda_version(facts.cuda_version);
  to.set_module_version(facts.module_version);
  for (const DeviceNode& node : facts.nodes) {
    v1::DeviceNode& added = *to.add_nodes();
    added.set_path(node.path);
    added.set_mode(node.mode);
    added.set_usable(node.error_number == 0);
    added.set_error_number(static_cast<uint32_t>(node.error_number));
  }
  for (const GpuFacts& gpu : facts.gpus) {
    v1::GpuFacts& added = *to.add_gpus();
    added.set_id(gpu.id);
    added.set_name(gpu.name);
    added.mutable_handles()->Assign(gpu.handles.begin(), gpu.handles.end());
  }
}

void ToProto(const AccessOptions& access, v1::AccessFacts& to) {
  to.mutable_attach_uids()->Assign(access.attach_uids.begin(), access.attach_uids.end());
  to.mutable_attach_gids()->Assign(access.attach_gids.begin(), access.attach_gids.end());
  to.mutable_operate_uids()->Assign(access.operate_uids.begin(), access.operate_uids.end());
  to.mutable_operate_gids()->Assign(access.operate_gids.begin(), access.operate_gids.end());
}

}  // namespace

void Diagnose(const DaemonInfo& info, const AccessOptions& access, bool operates,
              const v1::DiagnoseRequest& request, v1::DiagnoseResponse& response) {
  ToProto(ReadProcessFacts(), *response.mutable_process());
  ToProto(ReadMachineFacts(), *response.mutable_machine());
  for (const RootFacts& facts : info.check_roots(operates && !request.skip_reads())) {
    ToProto(facts, *response.add_roots());
  }
  if (info.uses_cuda) {
    ToProto(ReadDriverFacts(), *response.mutable_driver());
  } else {
    response.mutable_driver()->set_disabled(true);
  }
  if (operates) ToProto(access, *response.mutable_access());
}

}  // namespace weightd
