#ifndef WEIGHTD_DAEMON_SERVICE_PROTO_CONVERT_H_
#define WEIGHTD_DAEMON_SERVICE_PROTO_CONVERT_H_

#include <optional>

#include "absl/status/statusor.h"
#include "common/warning.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/catalog_watcher.h"
#include "daemon/lease/lease_table.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/generation.h"
#include "daemon/residency/report_log.h"
#include "daemon/residency/residency_table.h"
#include "daemon/residency/stage_job.h"
#include "weightd/v1/weight_cache.pb.h"

// The daemon's structs -> the messages of weightd.v1. Pure functions, thread-safe.

namespace weightd {

void ToProto(absl::Time time, google::protobuf::Timestamp& to);
void ToProto(absl::Duration duration, google::protobuf::Duration& to);
absl::Duration FromProto(const google::protobuf::Duration& duration);
void ToProto(const StageReport& report, v1::StageReport& to);
void ToProto(const StageRecord& record, v1::StageReport& to);
void ToProto(const CopyInfo& info, v1::Generation& to);
// `offset` is left 0 where there is no layout.
v1::VerifyMode ToProto(VerifyMode mode);
// None for unspecified; INVALID_ARGUMENT/INVALID_REQUEST for a mode that this build does not know.
absl::StatusOr<std::optional<VerifyMode>> FromProto(v1::VerifyMode mode);
// Of the manifest's tensor `index`: all but where it is in memory.
void ToProto(const Manifest& manifest, size_t index, v1::Tensor& to);
void ToProto(const Checkpoint& checkpoint, v1::Model& to);
// A path of the configuration as others have to name it: absolute. As it is where the directory
// that the daemon was started in is gone.
std::string AbsolutePath(const std::string& path);

void ToProto(const RootLook& look, v1::VolumeStatus& to);
// "local", "network", "fuse".
const char* FileSystemKindName(FileSystemKind kind);
void ToProto(const LeaseInfo& lease, v1::Lease& to);
void ToProto(const DeviceUsage& usage, const DeviceInfo& info, v1::Device& to);
void ToProto(const Event& event, v1::Event& to);
void ToProto(const Warning& warning, v1::Warning& to);
void ToProto(const StageSnapshot& snapshot, v1::StageModelResponse& to);

// The resident generation of `content` as a list shows it, for where only the content is at hand.
v1::Generation ResidentToProto(const CopyContent& content);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_PROTO_CONVERT_H_
