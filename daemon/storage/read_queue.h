#ifndef WEIGHTD_DAEMON_STORAGE_READ_QUEUE_H_
#define WEIGHTD_DAEMON_STORAGE_READ_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/warning.h"
#include "daemon/storage/volume.h"

// Queues reads of checkpoint files and hands back their completions, in the order in which they
// finish.
//
// Thread-compatible: the thread that first submits owns the queue (a ring is bound to one thread).
// While reads are in flight only the owner destroys it, or another thread once the owner has ended.
// A finished read is always whole or an error: short reads are continued inside. Files and buffers
// must outlive their reads.
//
// A read that takes longer than stall_timeout is told as stuck, and the queue goes on without it:
// its buffer stays the kernel's until the read has returned, which is told too, if it ever happens.
// Destroying the queue cancels and waits for what is in flight or stuck: for ever, on a volume that
// never answers. Whoever cannot wait keeps the queue.

namespace weightd {

struct ReadRequest {
  const File* file = nullptr;
  // First byte. With kDirect a multiple of the file's direct_alignment().
  uint64_t offset = 0;
  // Bytes that must arrive; at least 1. `offset + length` must not pass the file's size at opening.
  uint64_t length = 0;
  // Where they go. With kDirect: data() aligned like offset, and size() at least `length` rounded
  // up to the alignment. Bytes of the buffer behind `length` are undefined afterwards.
  absl::Span<std::byte> buffer = {};
  ReadMode mode = ReadMode::kDirect;
  // Index of the staging buffer (ReadQueueOptions::slots) that `buffer` lies in whole; -1 for other
  // memory.
  int32_t slot = -1;
  // Comes back with the completion.
  uint64_t tag = 0;
};

struct ReadDone {
  uint64_t tag = 0;
  // READ_FAILED with file, offset and errno (DATA_LOSS for EIO and ESTALE);
  // DATA_LOSS/CHECKPOINT_CHANGED when the file ends before `length` bytes.
  absl::Status status = absl::OkStatus();
  // The direct read was refused (EINVAL) and went through the page cache instead.
  bool buffered_instead = false;
  uint32_t retries = 0;  // after EAGAIN or EINTR
  // It takes longer than stall_timeout: DEADLINE_EXCEEDED/VOLUME_STUCK with file, offset and time.
  // Its buffer and its slot are still the kernel's.
  bool stuck = false;
  // What was told as stuck has ended, well or not: its buffer is the caller's again.
  bool returned = false;
};

enum class ReadEngine { kAuto, kUring, kPread };
// "io_uring", "pread".
absl::string_view ReadEngineName(ReadEngine engine);

// Where reads stand in the volume's queue (ioprio_set(2)); whether the volume has one is up to its
// scheduler.
enum class IoPriority {
  kNormal,  // that of the process
  kLow,     // the last of the best-effort class
  kIdle,    // only when nobody else reads
};

struct ReadQueueOptions {
  ReadEngine engine = ReadEngine::kAuto;
  // Affects performance.
  uint32_t depth = 32;          // reads in flight, 1..1024
  uint32_t pread_threads = 16;  // of the pread engine, 1..64
  // Poll() of io_uring waits for so many reads, but for no more than half of those in flight:
  // the volume stays busy, and one wake-up serves them all. 1..1024.
  uint32_t poll_batch = 1;
  IoPriority io_priority = IoPriority::kNormal;
  // Affects behaviour.
  absl::Duration stall_timeout = absl::Seconds(60);  // a call that takes longer is stuck
  uint32_t stuck_max = 64;                           // then nothing more is read, 1..1024
  uint32_t retries_max = 8;                          // EAGAIN and EINTR per read, 0..64
  // Staging buffers, registered with the ring, at most 16384. On 2 MiB boundaries, since one kernel
  // failed fixed reads in others. They must outlive the queue.
  std::vector<absl::Span<std::byte>> slots = {};

  absl::Status Validate() const;
};

class ReadQueue {
 public:
  virtual ~ReadQueue() = default;

  // Takes a read, which starts at the next Poll() or before it. RESOURCE_EXHAUSTED when `depth`
  // reads are in flight; UNAVAILABLE/VOLUME_STUCK when `stuck_max` are stuck; INVALID_ARGUMENT for
  // a request that breaks the rules above (nothing is taken).
  virtual absl::Status Submit(const ReadRequest& request) = 0;

  // Calls `done` for each read that finished, is stuck or returned, waiting up to `timeout` for the
  // first (poll_batch: the first few) when reads are in flight or stuck. OK also when there was
  // none. `done` may call Submit, not Poll. An error means that the queue itself broke: every read
  // in flight is lost, its buffer is not the caller's until the queue is destroyed, and all later
  // calls answer the same.
  virtual absl::Status Poll(absl::Duration timeout,
                            absl::FunctionRef<void(const ReadDone&)> done) = 0;

  // Submitted and not yet handed back, without those that are stuck.
  virtual uint32_t in_flight() const = 0;
  // Told as stuck and not as returned.
  virtual uint32_t stuck() const = 0;

  // A descriptor of the queue that poll(2) shows readable when Poll() has something to hand back;
  // -1 where there is none. A read that is retried after a pause may wake late.
  virtual int wake_descriptor() const = 0;

  virtual ReadEngine engine() const = 0;

  // What it had to do without, each with the way to get it: registered buffers, files,
  // ring flags. Empty is good.
  virtual const Warnings& fallbacks() const = 0;
};

// What kAuto means on this machine, found out by trying: setup, register, one real read.
struct EngineProbe {
  ReadEngine engine = ReadEngine::kPread;
  // Why not io_uring, with what to do about it (seccomp, sysctl, old kernel); empty if it is.
  std::string reason;
};
EngineProbe ProbeReadEngine();

// kAuto falls back to pread and says so in fallbacks(); kUring that does not work is an error.
// Where it works, buffered reads and those of FUSE's files, which no ring may read
// (file_system.h), are made by threads all the same (split_read_queue.h).
absl::StatusOr<std::unique_ptr<ReadQueue>> CreateReadQueue(const ReadQueueOptions& options);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_READ_QUEUE_H_
