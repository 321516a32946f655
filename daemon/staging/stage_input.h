#ifndef WEIGHTD_DAEMON_STAGING_STAGE_INPUT_H_
#define WEIGHTD_DAEMON_STAGING_STAGE_INPUT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "daemon/device/device.h"
#include "daemon/format/manifest.h"
#include "daemon/staging/digester.h"
#include "daemon/staging/layout.h"
#include "daemon/storage/read_queue.h"
#include "daemon/storage/volume.h"

// What goes into one job's reading, and what comes out. Plain data: thread-compatible.

namespace weightd {

// Where the bytes go.
struct StageTarget {
  Device* device = nullptr;
  Allocation* destination = nullptr;
};

// Of a target's host memory, that which may still be written to.
using KeptParts = std::vector<absl::Span<std::byte>>;

// Everything pointed to outlives the run, `keep` and `keep_plan`.
struct StageInput {
  // Of messages, and of what is stuck.
  std::string model;
  std::string root;
  const Manifest* manifest = nullptr;
  absl::Span<const std::shared_ptr<File>> files;  // like manifest->shards
  const Layout* layout = nullptr;
  // At least one, in one layout. The volume is read once: what one of several is to get, and all
  // that a GPU gets, goes through staging buffers of the first target's device.
  std::vector<StageTarget> targets;
  const std::atomic<bool>* cancelled = nullptr;
  // Of reads; 0 is no limit.
  uint64_t bytes_per_second_max = 0;
  // How the bytes are looked at, and the keys of encrypted files.
  DigestOptions digest;

  // Called on the thread of a reader; must be quick. Bytes in place so far, on every target, after
  // every few blocks.
  std::function<void(uint64_t bytes_done)> on_progress;

  // Called on the thread that made the run, before it returns, where it was abandoned: for each
  // target what is still written to until the reads come back, of a GPU's none; nullopt is all of
  // it, as far as anybody knows. And whether `keep_plan` is held until then.
  std::function<void(const std::vector<std::optional<KeptParts>>& kept, bool keeps_plan)>
      on_abandoned;

  // Owns manifest and layout. A run that is abandoned lets it go where it only waits for reads.
  std::shared_ptr<const void> keep_plan;
  // Owns all else that is pointed to. A run that is abandoned, since its reads do not come back,
  // holds it until they do: its end, on the thread of a reader, means that nothing writes to the
  // destinations any more.
  std::shared_ptr<const void> keep;
};

// A run that was abandoned, as long as its reads have not come back.
struct StuckStage {
  std::string model;
  std::string root;
  // The first that did not come back; empty where it is not a read that hangs.
  std::string file;
  uint64_t offset = 0;
  uint32_t reads = 0;
  uint64_t bytes = 0;          // of its destinations, that it may still write to
  FileIdentity identity = {};  // of that file
  // A read took longer than the stall timeout, or it was abandoned so long ago: else it may only be
  // slow.
  bool hangs = false;
  absl::Duration age;  // since it was abandoned
};

struct StageOutcome {
  ReadEngine engine = ReadEngine::kPread;  // of what the page cache does not hold
  // Of data sections, by how they were read; the sum is all of them.
  uint64_t direct_bytes = 0;    // past the page cache
  uint64_t cached_bytes = 0;    // copied out of it
  uint64_t buffered_bytes = 0;  // through it, since the file or the kernel refuses direct reads
  uint64_t read_retries = 0;    // after EAGAIN or EINTR
  uint64_t tensors_moved = 0;
  absl::Duration read_time;  // until the last block was read
  absl::Duration copy_time;  // from then until everything was in its place, and digested
  DigestOutcome digest;
  // What the read path had to do without, each a sentence.
  std::vector<std::string> fallbacks;

  uint64_t bytes_read() const { return direct_bytes + cached_bytes + buffered_bytes; }
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_STAGE_INPUT_H_
