#ifndef WEIGHTD_DAEMON_DEVICE_DEVICE_H_
#define WEIGHTD_DAEMON_DEVICE_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/unique_fd.h"
#include "common/warning.h"

// Memory that generations live in: a GPU's, or the host's. Two implementations, CUDA (driver API)
// and host (memfd); tests/support/device has an in-memory double.
//
//   allocate -> copy blocks in (or read straight into host memory) -> seal -> export -> free
//
// Finish() every queue that copies into an allocation before Seal(), CopyOut() or free: only then
// are its bytes there.
//
// Device is thread-safe. Allocation and CopyQueue are thread-compatible. A Device outlives its
// allocations and queues.

namespace weightd {

enum class DeviceKind { kHost, kCuda };

struct DeviceInfo {
  std::string id;  // "host", or the GPU's UUID: what it is called outside this process
  DeviceKind kind = DeviceKind::kHost;
  std::string name;          // "NVIDIA H100 80GB HBM3", "host memory"
  uint64_t total_bytes = 0;  // of memory
  uint64_t free_bytes = 0;   // when the device was opened
  int numa_node = -1;        // whose memory and processors are near; -1 where that is not known
};

// What lets another process map an allocation.
struct Export {
  UniqueFd fd;                  // a descriptor of its own, host only
  std::string cuda_ipc_handle;  // 64 bytes, CUDA only. Grants access: never log it.
};

// One block of memory, freed on destruction: it goes back to the system or the driver, which scrub
// it, and is never reused for other content.
//
// It must outlive every lease on it: freeing exported CUDA memory while a client maps it is
// undefined.
class Allocation {
 public:
  virtual ~Allocation() = default;
  virtual uint64_t bytes() const = 0;

  // Memory that reads may land in, writable until Seal(); empty for a GPU's. Aligned to 2 MiB.
  virtual absl::Span<std::byte> host_memory() = 0;

  // Bytes from the start that may be filled now. For host memory it grows by itself until it is
  // bytes(), as a thread makes the pages ahead of the reads; RESOURCE_EXHAUSTED/DEVICE_FAILED when
  // they cannot be had, and then so says Seal(). Thread-safe.
  virtual absl::StatusOr<uint64_t> ready_bytes() const { return bytes(); }

  // Makes the content final. Host: afterwards nobody can write or resize it, this process included
  // (memfd seals), and host_memory() is gone. CUDA: waits for nothing, and refuses further copies.
  // FAILED_PRECONDITION on a second call, and for host memory that a read or an io_uring
  // registration still pins; then it is unsealed as before.
  virtual absl::Status Seal() = 0;

  // A new export; FAILED_PRECONDITION before Seal(). A host descriptor is read-only and can be
  // mapped with PROT_READ, MAP_SHARED.
  virtual absl::StatusOr<Export> CreateExport() const = 0;

  // The bytes of sealed host memory; empty for a GPU's, before Seal(), and where a mapping of it is
  // not shared, so that to pin it would be to copy it.
  virtual absl::Span<const std::byte> sealed_memory() const { return {}; }

  // The same, while it is pinned for every GPU, which then copies from it by itself: see
  // pinned_allocation.h. Else empty.
  virtual absl::Span<const std::byte> pinned_memory() const { return {}; }

  // Gives the memory back but for `kept`, parts of host_memory() that others may still write to;
  // the bytes that are left, with whole pages of 2 MiB. For one that was not sealed and is of no
  // more use: what was given back has no content. All is left where nothing can be given back.
  virtual uint64_t GiveBackAllBut(absl::Span<const absl::Span<std::byte>> /*kept*/) {
    return bytes();
  }

  // Reads back from a sealed or unsealed allocation, waiting. OUT_OF_RANGE past its end.
  virtual absl::Status CopyOut(uint64_t offset, absl::Span<std::byte> to) const = 0;
};

struct CopyRequest {
  Allocation* to = nullptr;
  uint64_t offset = 0;  // in `to`
  // Must stay unchanged until the copy is done. For CUDA it must lie in memory given to
  // RegisterStaging() or RegisterSealed().
  absl::Span<const std::byte> from;
  uint64_t tag = 0;
};

// Copies of one queue that a device works on at once.
inline constexpr uint32_t kCopiesInFlightMax = 1024;

// The copies of one job to one device. One event per staging buffer: a buffer can be filled again
// when its copy is reported done.
// The first error of a queue is its state: every later call returns it.
class CopyQueue {
 public:
  // Waits for the copies in flight.
  virtual ~CopyQueue() = default;

  // Starts a copy. Host copies are done when this returns, and are reported by Poll all the same.
  // OUT_OF_RANGE past the end of the allocation; FAILED_PRECONDITION for a sealed one;
  // INVALID_ARGUMENT for one of another device. With kCopiesInFlightMax on the device it waits for
  // the oldest.
  virtual absl::Status Submit(const CopyRequest& request) = 0;

  // Calls `done` with the tag of each finished copy, in any order, waiting up to `timeout` for the
  // first when copies are in flight. An error (reason DEVICE_FAILED) means that the content of the
  // allocations is undefined.
  virtual absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(uint64_t tag)> done) = 0;

  // Moves bytes within an allocation, after every copy submitted so far and before those submitted
  // later. INVALID_ARGUMENT when the ranges overlap. Done when a later Finish() returns.
  virtual absl::Status Move(Allocation& allocation, uint64_t from, uint64_t to, uint64_t bytes) = 0;

  // Waits for everything submitted. Copies not yet reported are not reported afterwards.
  // DEADLINE_EXCEEDED (reason DEVICE_FAILED) when the device makes no progress for a minute.
  virtual absl::Status Finish() = 0;

  // Copies submitted and not yet reported.
  virtual uint32_t in_flight() const = 0;
};

// Of Device::warnings().
inline constexpr size_t kDeviceWarningsMax = 16;

// How often the driver or the kernel failed at one thing since the start.
struct DeviceErrors {
  std::string operation;  // one of a few words: "allocate", "copy", ...
  uint64_t count = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;

  // At least `bytes` (1 or more), rounded up to `allocation_granularity()`. RESOURCE_EXHAUSTED/
  // DEVICE_FAILED when there is no memory: the text says how much was wanted and how much is free.
  virtual absl::StatusOr<std::unique_ptr<Allocation>> Allocate(uint64_t bytes) = 0;
  virtual uint64_t allocation_granularity() const = 0;

  // Pins host memory, so that copies from it run asynchronously. Before any copy from it, once per
  // range and device; it must stay mapped until UnregisterStaging(). GPUs share the pinning of a
  // range that is given to several. Host: does nothing.
  virtual absl::Status RegisterStaging(absl::Span<std::byte> memory) = 0;
  virtual void UnregisterStaging(absl::Span<std::byte> memory) = 0;

  // Likewise, of memory that this process cannot write: an allocation's sealed_memory().
  // UNIMPLEMENTED/DEVICE_FAILED for a GPU that cannot be kept from writing it.
  virtual absl::Status RegisterSealed(absl::Span<const std::byte> memory) = 0;
  virtual void UnregisterSealed(absl::Span<const std::byte> memory) = 0;

  virtual absl::StatusOr<std::unique_ptr<CopyQueue>> CreateCopyQueue() = 0;

  // The pages that an allocation gets now: "hugetlb", "transparent" or "small"; empty for a GPU.
  virtual std::string pages() const { return ""; }

  // What it goes without, and what it could not free: a sentence each, for the log and for
  // status. Grows at run time, up to kDeviceWarningsMax, and never repeats one.
  virtual Warnings warnings() const { return {}; }

  // An entry for each thing that can fail, also while its count is 0.
  virtual std::vector<DeviceErrors> errors() const { return {}; }
};

// Host memory as sealed memfds, with huge pages where they are given (MFD_HUGETLB, else transparent
// ones, else small). What it went without is in `warnings()`.
struct HostDeviceOptions {
  enum class HugePages { kAuto, kOff };
  HugePages huge_pages = HugePages::kAuto;
  // Stays free: an allocation that would leave less is refused. Reserved huge pages do not count.
  uint64_t headroom_bytes = uint64_t{64} << 20;
};
std::unique_ptr<Device> CreateHostDevice(const HostDeviceOptions& options);

// The GPUs that this process can use. NOT_FOUND, UNAVAILABLE or UNIMPLEMENTED without a driver,
// with the text that says what is missing; GPUs that cannot be used (MIG, compute mode prohibited,
// no IPC) are left out and said in `skipped`.
struct CudaDevices {
  std::vector<std::unique_ptr<Device>> devices;
  Warnings skipped;
  int driver_version = 0;  // 13000 for CUDA 13.0
};
absl::StatusOr<CudaDevices> OpenCudaDevices();

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_DEVICE_H_
