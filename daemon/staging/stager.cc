#include "daemon/staging/stager.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/device/pinned_allocation.h"

namespace weightd {
namespace {

// Bytes in flight that fill a volume: a disk's queue, and what a network holds on its way.
constexpr uint64_t kLocalBytesInFlight = 64 * kMiB;
constexpr uint64_t kRemoteBytesInFlight = 512 * kMiB;
constexpr uint32_t kDepthMax = 1024;
constexpr uint32_t kDigestSlots = 4;
// To wake up for one block each costs a fifth more CPU time.
constexpr uint32_t kPollBatch = 8;
// Readers that are kept although nobody reads with them.
constexpr size_t kReadersMax = 64;
// Readers whose threads may hang at once, each with its queue.
constexpr size_t kHangingMax = 32;

// Of the bytes in flight into host memory, the part of one volume.
constexpr uint64_t kVolumeShare = 8;
// So many reads are to be possible at once, so that each of many volumes has some.
constexpr uint64_t kReadsWanted = 64;

uint64_t HostBlockBytes(const StagerOptions& options) {
  const uint64_t few = AlignDown(options.host_bytes_in_flight_max / kReadsWanted, 2 * kMiB);
  return std::clamp(few, 2 * kMiB, options.block_bytes);
}

uint32_t HostReadsMax(const StagerOptions& options) {
  const uint64_t reads = options.host_bytes_in_flight_max / HostBlockBytes(options);
  return static_cast<uint32_t>(std::clamp<uint64_t>(reads, 1, UINT32_MAX));
}

absl::Status CheckCount(absl::string_view name, uint32_t count, uint32_t min) {
  if (count >= min && count <= kDepthMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", count, ", wanted ", min, " to ", kDepthMax));
}

}  // namespace

uint32_t DefaultDepth(uint64_t block_bytes, bool is_remote) {
  const uint64_t bytes = is_remote ? kRemoteBytesInFlight : kLocalBytesInFlight;
  return static_cast<uint32_t>(std::clamp<uint64_t>(bytes / block_bytes, 1, kDepthMax));
}

uint32_t DefaultSlotCount(uint64_t block_bytes, bool is_remote) {
  return std::min(DefaultDepth(block_bytes, is_remote) + kDigestSlots, kDepthMax);
}

absl::Status StagerOptions::Validate() const {
  if (block_bytes < 2 * kMiB || block_bytes > 64 * kMiB || !IsAligned(block_bytes, 2 * kMiB)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "block_bytes is ", block_bytes, ", wanted a multiple of 2 MiB from 2 MiB to 64 MiB"));
  }
  RETURN_IF_ERROR(CheckCount("depth", depth, 0));
  RETURN_IF_ERROR(CheckCount("slot_count", slot_count, 1));
  RETURN_IF_ERROR(CheckCount("host_slot_count", host_slot_count, 1));
  return read_queue.Validate();
}

Stager::Stager(const StagerOptions& options, std::vector<Device*> devices, Executor& executor)
    : options_(options),
      devices_(std::move(devices)),
      executor_(executor),
      host_reads_(HostReadsMax(options)) {}

absl::StatusOr<std::unique_ptr<Stager>> Stager::Create(const StagerOptions& options,
                                                       std::vector<Device*> devices,
                                                       Executor& executor) {
  RETURN_IF_ERROR(options.Validate());
  WEIGHTD_CHECK(!devices.empty());
  std::unique_ptr<Stager> stager(new Stager(options, std::move(devices), executor));
  RETURN_IF_ERROR(stager->MakePools());
  const Key key = {.device = stager->devices_.front()};
  ASSIGN_OR_RETURN(stager->first_reader_, stager->MakeReader(key));
  absl::MutexLock lock(&stager->mu_);
  stager->readers_[key] = stager->first_reader_;
  return stager;
}

absl::Status Stager::MakePools() {
  for (Device* device : devices_) {
    const bool is_host = device->info().kind == DeviceKind::kHost;
    ASSIGN_OR_RETURN(std::unique_ptr<StagingPool> pool,
                     StagingPool::Create(is_host ? options_.host_slot_count : options_.slot_count,
                                         AlignUp(options_.block_bytes, 2 * kMiB), devices_,
                                         device->info().numa_node));
    pools_[device] = std::move(pool);
  }
  return absl::OkStatus();
}

Stager::~Stager() {
  // Their threads end without the lock.
  std::vector<std::shared_ptr<Reader>> readers = AllReaders();
  {
    absl::MutexLock lock(&mu_);
    readers_.clear();
    hanging_.clear();
  }
  first_reader_.reset();
  readers.clear();
}

uint64_t Stager::pool_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [device, pool] : pools_) bytes += pool->memory().size();
  return bytes;
}

absl::StatusOr<std::unique_ptr<Reader>> Stager::MakeReader(const Key& key) {
  StagingPool& pool = *pools_.at(key.device);
  const bool is_host = key.device->info().kind == DeviceKind::kHost;
  const uint64_t block_bytes = is_host ? HostBlockBytes(options_) : options_.block_bytes;
  ReadQueueOptions queue = options_.read_queue;
  queue.depth = options_.depth;
  if (queue.depth == 0) {
    queue.depth = DefaultDepth(block_bytes, key.is_remote);
    if (is_host) {
      const uint64_t blocks_max = options_.host_bytes_in_flight_max / kVolumeShare / block_bytes;
      queue.depth = static_cast<uint32_t>(std::clamp<uint64_t>(blocks_max, 1, queue.depth));
    }
  }
  queue.poll_batch = kPollBatch;
  queue.slots = pool.slots();
  ReaderOptions options;
  options.block_bytes = block_bytes;
  options.numa_node = key.device->info().numa_node;
  options.loop.depth_max = queue.depth;
  options.loop.stall_timeout = queue.stall_timeout;
  if (is_host) options.loop.reads_in_flight = &host_reads_;
  const auto make_queue = options_.make_queue ? options_.make_queue : CreateReadQueue;
  return Reader::Create(
      options, pool, [queue, make_queue] { return make_queue(queue); }, executor_);
}

absl::StatusOr<std::shared_ptr<Reader>> Stager::ReaderFor(const StageInput& input) {
  Key key = {.volumes = VolumesOf(input.files), .device = input.targets.front().device};
  for (const auto& file : input.files) {
    key.is_remote = key.is_remote || IsRemote(file->file_system());
  }
  std::vector<std::shared_ptr<Reader>> unused;  // goes last, after the lock
  absl::MutexLock lock(&mu_);
  unused = TakeUnused(key);
  if (const auto found = readers_.find(key); found != readers_.end()) return found->second;
  if (hanging_.size() >= kHangingMax) {
    return ErrorWithReason(
        absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
        absl::StrCat("read ", input.root, ": ", hanging_.size(),
                     " threads that read volumes do not come back; look at the mounts"));
  }
  // The reader that was made at the start belongs to the first local volume that is read.
  const Key first = {.device = key.device};
  if (auto node = key.is_remote ? decltype(readers_)::node_type() : readers_.extract(first);
      !node.empty()) {
    node.key() = key;
    return readers_.insert(std::move(node)).position->second;
  }
  ASSIGN_OR_RETURN(std::shared_ptr<Reader> reader, MakeReader(key));
  return readers_[key] = std::move(reader);
}

// Numbers of volumes come and go with their mounts: of many readers, those that rest go too.
std::vector<std::shared_ptr<Reader>> Stager::TakeUnused(const Key& wanted) {
  std::vector<std::shared_ptr<Reader>> unused;
  const auto rests = [](const std::shared_ptr<Reader>& reader) {
    return reader.use_count() == 1 && reader->idle();
  };
  for (auto it = readers_.begin(); it != readers_.end();) {
    if (it->second->hangs()) {
      hanging_.push_back(std::move(it->second));
    } else if (it->first != wanted && readers_.size() >= kReadersMax && rests(it->second)) {
      unused.push_back(std::move(it->second));
    } else {
      ++it;
      continue;
    }
    it = readers_.erase(it);
  }
  std::erase_if(hanging_, [&](std::shared_ptr<Reader>& reader) {
    if (reader->hangs() || !rests(reader)) return false;
    unused.push_back(std::move(reader));
    return true;
  });
  return unused;
}

std::vector<std::shared_ptr<Reader>> Stager::AllReaders() const {
  absl::MutexLock lock(&mu_);
  std::vector<std::shared_ptr<Reader>> all = hanging_;
  for (const auto& [key, reader] : readers_) all.push_back(reader);
  return all;
}

std::vector<StuckStage> Stager::stuck() const {
  std::vector<StuckStage> all;
  for (const auto& reader : AllReaders()) {
    std::vector<StuckStage> some = reader->stuck();
    std::move(some.begin(), some.end(), std::back_inserter(all));
  }
  return all;
}

absl::StatusOr<CopyOutcome> Stager::Copy(const CopyInput& input) {
  const auto gpu = std::find_if(input.targets.begin(), input.targets.end(), [](const auto& target) {
    return target.device->info().kind == DeviceKind::kCuda;
  });
  Device* device = gpu == input.targets.end() ? input.targets.front().device : gpu->device;
  return CopyRun(input, *pools_.at(device),
                 {.block_bytes = options_.block_bytes,
                  .stall_timeout = options_.read_queue.stall_timeout},
                 executor_)
      .Run();
}

absl::Status Stager::Pin(const Device& owner, std::shared_ptr<Allocation>& allocation) const {
  if (!options_.pin_host_memory || owner.info().kind != DeviceKind::kHost) return absl::OkStatus();
  std::vector<Device*> gpus;
  std::copy_if(devices_.begin(), devices_.end(), std::back_inserter(gpus),
               [](Device* device) { return device->info().kind == DeviceKind::kCuda; });
  if (gpus.empty()) return absl::OkStatus();
  return Annotate(PinForGpus(gpus, allocation),
                  "host memory is not pinned, copies to GPUs go through staging buffers");
}

absl::StatusOr<StageOutcome> Stager::Run(const StageInput& input, bool* abandoned) {
  *abandoned = false;
  ASSIGN_OR_RETURN(const std::shared_ptr<Reader> reader, ReaderFor(input));
  return reader->Run(input, abandoned);
}

}  // namespace weightd
