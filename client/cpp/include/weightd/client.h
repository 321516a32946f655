#ifndef WEIGHTD_CLIENT_H_
#define WEIGHTD_CLIENT_H_

#include <weightd/status.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

// Attaches to a model that weightd, the node's weight cache, holds in memory.
//
// Attaching maps memory that is there already: it costs milliseconds whatever the model's size, and
// all processes that attach share one copy.
//
//   #include <weightd/client.h>
//
//   auto attached = weightd::client::Attach("meta-llama/Llama-3.1-8B", {.client_name = "my
//   engine"}); if (!attached.ok()) {
//     std::cerr << attached.status() << '\n';  // NOT_FOUND/MODEL_NOT_FOUND: ...
//     return 1;
//   }
//   const weightd::client::Mapping mapping = *std::move(attached);
//   const weightd::client::Tensor* weight = mapping.Find("model.embed_tokens.weight");
//   if (weight != nullptr) UseRows(weight->data, weight->shape[0], weight->strides[0]);
//   // The end of `mapping` unmaps the memory and gives the lease back.
//
// A model has to be resident first (`weightctl stage MODEL --wait`), or Attach is told to wait
// while the daemon stages it (AttachOptions::policy). Attach itself reads no file.
//
// Threads: Attach may run on any number of threads at once. All const members of a Mapping may be
// called from any thread; moving, assigning and destroying one needs that no other thread uses it.
// The library starts no thread of its own; gRPC inside it does.
//
// fork(): attach after fork(), in the process that uses the weights. A child of a process that
// holds a Mapping may go on reading host memory through it, but must not call Attach, and CUDA
// memory is not usable there. In such a child a Mapping is inert: its destructor releases nothing.
// The lease is the parent's; since the child inherits the connection, it lasts until both have
// ended or called exec().
//
// Protobuf: the library registers weightd/v1/weight_cache.proto and google/rpc/{status,
// error_details}.proto with the system's libprotobuf, which ends a process that registers them a
// second time. Do not link generated code for them into the same program.
//
// ABI: standard-library types cross the interface, so build with the compiler family and the
// libstdc++ ABI that the library was built with.

#define WEIGHTD_CLIENT_EXPORT __attribute__((visibility("default")))

namespace weightd::client {

// Element types, by their safetensors names, and those that only .tensors files have. Elements are
// little-endian.
enum class DType : std::uint8_t {
  kBool = 1,    // one byte, 0 or 1
  kF4 = 2,      // bit-packed, 4 bits
  kF6E2M3 = 3,  // bit-packed, 6 bits
  kF6E3M2 = 4,  // bit-packed, 6 bits
  kU8 = 5,
  kI8 = 6,
  kF8E5M2 = 7,
  kF8E4M3 = 8,
  kF8E8M0 = 9,
  kF8E4M3Fnuz = 10,
  kF8E5M2Fnuz = 11,
  kI16 = 12,
  kU16 = 13,
  kF16 = 14,
  kBf16 = 15,
  kI32 = 16,
  kU32 = 17,
  kF32 = 18,
  kC64 = 19,  // two F32: real, imaginary
  kF64 = 20,
  kI64 = 21,
  kU64 = 22,
  // Of .tensors files only.
  kC32 = 23,   // two F16: real, imaginary
  kC128 = 24,  // two F64: real, imaginary
  // Elements of a type that only torch has: Tensor::torch_dtype names it.
  kOpaque8 = 25,
  kOpaque16 = 26,
  kOpaque32 = 27,
  kOpaque64 = 28,
};

// "BF16", "F8_E4M3", "OPAQUE8" and so on.
[[nodiscard]] WEIGHTD_CLIENT_EXPORT std::string_view DTypeName(DType dtype);
// Bits of one element: 4, 6, 8, 16, 32, 64 or 128.
[[nodiscard]] WEIGHTD_CLIENT_EXPORT std::uint32_t DTypeBits(DType dtype);

// One tensor of a Mapping. A view: everything in it lives as long as the Mapping, moves of the
// Mapping included. Data is dense and row-major.
struct Tensor {
  std::string_view name;
  // First element; null when `bytes` is 0. With device "host" readable by the CPU, and writing is
  // a fault. Otherwise a CUdeviceptr in the GPU's primary context; CUDA maps it writable, and
  // writing is a bug that every other client of the model sees. Aligned for `dtype` at least.
  const void* data = nullptr;
  DType dtype = DType::kU8;
  // "torch.uint4", of the opaque dtypes only.
  std::string_view torch_dtype;
  // XXH3-128 of its bytes as the daemon read them, in 32 hexadecimal digits; empty where it was
  // staged without.
  std::string_view xxh3_128;
  // Elements per dimension, outermost first; empty for a scalar.
  std::span<const std::int64_t> shape;
  // Bytes from one element to the next, per dimension. Empty for bit-packed dtypes (below 8 bits),
  // whose elements have no byte address; all 0 for a tensor without elements.
  std::span<const std::int64_t> strides;
  // Bytes of the data.
  std::uint64_t bytes = 0;
  // "host" or the GPU's UUID ("GPU-...").
  std::string_view device;
};

// What the daemon says, or what happened to the connection, while a Mapping lives.
struct Notice {
  enum class Kind {
    // A newer generation of the model is resident. This mapping keeps what it has; attach again to
    // get the new one.
    kSuperseded,
    // The daemon shuts down. Host memory stays valid in this process; CUDA memory has to be let go
    // before `deadline`.
    kDraining,
    // An operator evicts the model by force: the lease ends at `deadline` (kLeaseLost follows). Let
    // the mapping go before.
    kRevoking,
    // The memory does not hold any more what was staged: another client of the GPU, or the
    // hardware,
    // changed it. Stop using it; attach again once the model was staged again.
    kDamaged,
    // The lease is lost (the daemon ended or dropped it): `status` says why. Last notice of a
    // Mapping. Host memory stays valid as long as the Mapping; CUDA memory must not be used any
    // more.
    kLeaseLost,
  };
  Kind kind = Kind::kLeaseLost;
  std::uint64_t generation_id = 0;                   // only kSuperseded
  std::chrono::system_clock::time_point deadline{};  // only kDraining and kRevoking
  Status status{};                                   // only kLeaseLost
};

// What to do about a model that is not resident. There is no policy that reads files: an engine
// that attaches through this library has a loader of its own for that.
enum class AttachPolicy {
  kRequire,  // refuse: FAILED_PRECONDITION/MODEL_NOT_RESIDENT
  kWait,     // have it staged, and wait
};

// How the stage, or the copy to another device, goes that an attach waits for.
struct Progress {
  enum class Phase {
    kQueued,      // waits for a worker
    kPlanning,    // reads headers, takes memory
    kReading,     // reads, and copies what is read
    kPublishing,  // waits for the last copies, checks that the files did not change
    kStaged,      // resident
  };
  Phase phase = Phase::kQueued;
  // Read and copied so far, of `bytes_total`; both 0 before the plan is made.
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_per_second = 0;  // since reading began
  std::uint32_t jobs_ahead = 0;        // only kQueued: jobs that run before it
};

struct AttachOptions {
  // Directory of the daemon's sockets. Empty: $WEIGHTD_SOCKET_DIR, else /run/weightd for root,
  // else $XDG_RUNTIME_DIR/weightd, else /tmp/weightd-<uid>.
  std::string socket_dir{};
  // "host", a GPU's UUID, or empty: the daemon's default device, or where the model is resident if
  // it has none. A model that is resident elsewhere is copied to that device first.
  std::string device{};
  // Free text that `weightctl leases` shows, e.g. the engine's name; at most 64 bytes.
  std::string client_name{};
  // For connecting and for everything the daemon has to send; above 0. Opening CUDA memory comes on
  // top, since the driver cannot be interrupted.
  std::chrono::milliseconds timeout{10'000};
  AttachPolicy policy{AttachPolicy::kRequire};
  // How long the daemon may stage or copy the model before; above 0, at most a day.
  std::chrono::milliseconds wait_timeout{600'000};
  // Called for each notice, one at a time, on a thread of gRPC; may run before Attach returns. It
  // must not block, throw, or destroy or move the Mapping. Empty: notices are dropped.
  std::function<void(const Notice&)> on_notice{};
  // Likewise, while Attach waits; not once it has returned.
  std::function<void(const Progress&)> on_progress{};
  // Ends an Attach that another thread waits for: it returns CANCELLED/CANCELLED soon after a stop
  // was requested. A stage that it began goes on only where others wait for it too.
  std::stop_token stop_token{};
};

// A leased model in this process's memory. Move-only; a default-constructed or moved-from Mapping
// is empty: no tensors, no lease.
class WEIGHTD_CLIENT_EXPORT Mapping {
 public:
  Mapping();
  Mapping(Mapping&& other) noexcept;
  // Ends what this Mapping held first.
  Mapping& operator=(Mapping&& other) noexcept;
  // Unmaps the memory, then ends the lease: every Tensor of this Mapping is invalid from here on.
  // GPU work that still reads it has to be finished before. Waits for running notices.
  ~Mapping();

  // The tensor of that name, or null. Constant time.
  [[nodiscard]] const Tensor* Find(std::string_view name) const;
  // All tensors, in an order that is the same for every attach to a generation.
  [[nodiscard]] std::span<const Tensor> tensors() const;

  [[nodiscard]] const std::string& model() const;
  // Which copy of the model: a changed checkpoint is a new generation.
  [[nodiscard]] std::uint64_t generation_id() const;
  // As `weightctl leases` shows it.
  [[nodiscard]] std::uint64_t lease_id() const;
  // "host" or the GPU's UUID.
  [[nodiscard]] const std::string& device() const;
  // Commit of a Hugging Face cache's snapshot; empty elsewhere.
  [[nodiscard]] const std::string& revision() const;
  // Of the checkpoint's header (safetensors `__metadata__`).
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const;
  // Bytes of all tensors.
  [[nodiscard]] std::uint64_t total_bytes() const;
  // Whether the daemon still holds the lease for us. False once the connection ended, e.g. since
  // the daemon did; see Notice::Kind::kLeaseLost for what is valid then.
  [[nodiscard]] bool lease_held() const;

 private:
  class Impl;
  friend WEIGHTD_CLIENT_EXPORT Result<Mapping> Attach(std::string_view model,
                                                      const AttachOptions& options);
  explicit Mapping(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Leases a model and maps it. `model` is a name, `name@generation` or `name@revision`. Blocks until
// everything is mapped, at most `options.timeout` plus the driver's own time, and `wait_timeout`
// where the model must be staged or copied first. Each call is a lease of its own.
//
// Errors, as code/reason:
//   UNAVAILABLE/UNREACHABLE                no daemon answers; the message says which way
//   PERMISSION_DENIED/PERMISSION_DENIED    not on the allow-list, or no access to the sockets
//   NOT_FOUND/MODEL_NOT_FOUND              no such model
//   FAILED_PRECONDITION/MODEL_NOT_RESIDENT stage it first
//   NOT_FOUND/DEVICE_NOT_FOUND             no such device, or this process does not see that GPU
//   FAILED_PRECONDITION/HANDLE_UNUSABLE    the memory cannot be opened from this process
//   RESOURCE_EXHAUSTED/LIMIT_EXCEEDED      too many leases
//   UNAVAILABLE/DRAINING                   the daemon shuts down
//   DEADLINE_EXCEEDED/WAIT_TIMEOUT         not resident after `options.wait_timeout`
//   UNAVAILABLE/VOLUME_BUSY                too much waits for its volume already
//   DEADLINE_EXCEEDED/VOLUME_STUCK         its volume does not answer
//   RESOURCE_EXHAUSTED/BUDGET_EXCEEDED     it does not fit; the message has the numbers
//   DEADLINE_EXCEEDED                      `options.timeout` passed
//   CANCELLED/CANCELLED                    `options.stop_token` asked for it
//   INVALID_ARGUMENT                       an option is out of its range
//   INTERNAL                               the daemon sent something inconsistent; nothing is
//   mapped
[[nodiscard]] WEIGHTD_CLIENT_EXPORT Result<Mapping> Attach(std::string_view model,
                                                           const AttachOptions& options = {});

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_H_
