#include "daemon/staging/stager.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/status_macros.h"
#include "daemon/staging/transfer.h"

namespace weightd {

absl::Status StagerOptions::Validate() const {
  if (block_bytes < 2 * kMiB || block_bytes > 64 * kMiB || !IsAligned(block_bytes, 2 * kMiB)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "block_bytes is ", block_bytes, ", wanted a multiple of 2 MiB from 2 MiB to 64 MiB"));
  }
  if (depth < 1 || depth > 1024) {
    return absl::InvalidArgumentError(absl::StrCat("depth is ", depth, ", wanted 1 to 1024"));
  }
  if (slot_count < 1 || slot_count > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("slot_count is ", slot_count, ", wanted 1 to 1024"));
  }
  return read_queue.Validate();
}

absl::StatusOr<std::unique_ptr<Stager>> Stager::Create(const StagerOptions& options,
                                                       std::vector<Device*> devices) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(std::unique_ptr<StagingPool> pool,
                   StagingPool::Create(options.slot_count, options.block_bytes));
  std::vector<Device*> registered;
  const auto unregister = [&] {
    for (Device* device : registered) device->UnregisterStaging(pool->memory());
  };
  for (Device* device : devices) {
    if (absl::Status status = device->RegisterStaging(pool->memory()); !status.ok()) {
      unregister();
      return status;
    }
    registered.push_back(device);
  }
  ReadQueueOptions queue_options = options.read_queue;
  queue_options.depth = options.depth;
  queue_options.slots = pool->slots();
  absl::StatusOr<std::unique_ptr<ReadQueue>> queue = CreateReadQueue(queue_options);
  if (!queue.ok()) {
    unregister();
    return queue.status();
  }
  return std::make_unique<Stager>(options, std::move(pool), *std::move(queue), std::move(devices));
}

Stager::Stager(const StagerOptions& options, std::unique_ptr<StagingPool> pool,
               std::unique_ptr<ReadQueue> queue, std::vector<Device*> devices)
    : options_(options),
      pool_(std::move(pool)),
      devices_(std::move(devices)),
      queue_(std::move(queue)) {}

Stager::~Stager() {
  queue_.reset();
  for (Device* device : devices_) device->UnregisterStaging(pool_->memory());
}

absl::StatusOr<StageOutcome> Stager::Run(const StageInput& input,
                                         const std::atomic<bool>& cancelled,
                                         absl::FunctionRef<void(uint64_t bytes_done)> progress) {
  ASSIGN_OR_RETURN(std::unique_ptr<CopyQueue> copies, input.device->CreateCopyQueue());
  Transfer transfer(input, options_, *pool_, *queue_, *copies);
  RETURN_IF_ERROR(transfer.Run(cancelled, progress));
  for (const TensorMove& move : input.layout->moves) {
    RETURN_IF_ERROR(copies->Move(*input.destination, move.from, move.to, move.bytes));
  }
  RETURN_IF_ERROR(copies->Finish());

  StageOutcome outcome;
  outcome.bytes_read = transfer.bytes_done();
  outcome.direct = transfer.direct();
  outcome.tensors_moved = input.layout->moves.size();
  outcome.fallbacks = queue_->fallbacks();
  if (!outcome.direct) {
    outcome.fallbacks.push_back(
        "read through the page cache: the file system refuses O_DIRECT, or wants an alignment "
        "above 4096");
  }
  return outcome;
}

}  // namespace weightd
