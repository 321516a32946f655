#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_FAKE_CUDA_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_FAKE_CUDA_H_

#include <cstddef>

// A libcuda.so.1 for nodes without a GPU: a test double of the part of the driver API that weightd
// uses (WEIGHTD_CUDA_FUNCTIONS), on memory that processes share. The product does not know of it;
// a test puts its folder first in LD_LIBRARY_PATH. It shows how weightd uses the driver, not how a
// GPU behaves.
//
// It is harsh. What it finds wrong is *reported*: a line "fake_cuda: ..." on stderr, appended to
// the file named by WEIGHTD_FAKE_CUDA_REPORT, and kept for fake_cuda_take_reports(). A call that
// is reported also fails, unless that would be unlike the driver. Reported are:
//   - any call before cuInit, in a forked child of the process that called it, or with a context
//     that is gone or not current; a pop without a push
//   - a copy from host memory that is not wholly registered; host memory unregistered, or unmapped,
//     while a copy from it is in flight; registered memory that is not mapped
//   - a device address that was never given out, or was freed (addresses are never given out
//     twice); a range that leaves its allocation; a copy to another GPU than the stream's; a move
//     whose ranges overlap
//   - memory freed twice, by the process that only opened it, by another address than its base,
//     while a copy to or from it is in flight, or while another process has it open
//   - cuMemcpyDtoH of bytes that a copy in flight is still to write (it does not wait for
//     non-blocking streams)
//   - a stream destroyed with work on it; an unknown or destroyed stream or event; an event asked
//     before it was recorded
//   - an export of memory that is not a multiple of 2 MiB, or not by its base
//   - at exit: allocations, contexts, streams, events, registrations and IPC mappings that are
//     left, and contexts that are still pushed. Nothing after a sticky error, which makes giving
//     back impossible
//
// Not reported, but as hard as the driver:
//   - copies run later, on a thread per stream, in its order; the source is read then
//   - new memory is full of 0xCD (up to 16 MiB), and no device address is a host address
//   - cuIpcOpenMemHandle refuses with CUDA_ERROR_INVALID_CONTEXT in the process that exported and
//     in another PID namespace, and with CUDA_ERROR_INVALID_VALUE when the memory was freed or its
//     process is dead (as driver 580 on an H200 answered; tests/gpu.sh); what was open then answers
//     CUDA_ERROR_ILLEGAL_ADDRESS. Opening on another GPU than the exporter's is
//     CUDA_ERROR_INVALID_DEVICE
//   - an error of the kind that breaks a context (CUDA_ERROR_ILLEGAL_ADDRESS and its like) stays:
//     every later memory, stream, event and IPC call in that context returns it
//   - memory of one GPU is counted over all processes; a killed process gives its memory back
//
// Environment, read by cuInit:
//   WEIGHTD_FAKE_CUDA_DEVICES=1            GPUs of the node, up to 16; 0 makes cuInit fail
//   WEIGHTD_FAKE_CUDA_MEMORY_BYTES=8589934592   of each
//   WEIGHTD_FAKE_CUDA_NODE=default         processes with the same name share the GPUs' memory
//   WEIGHTD_FAKE_CUDA_FAIL=cuMemAlloc:3:CUDA_ERROR_OUT_OF_MEMORY,...
//       the third call fails; "3+" also every later one. ":later" at the end makes an asynchronous
//       copy fail when it runs instead of when it is submitted
//   WEIGHTD_FAKE_CUDA_REPORT=FILE          see above
//   WEIGHTD_FAKE_CUDA_COPY_DELAY_US=50     before each copy
//   WEIGHTD_FAKE_CUDA_VERSION=13000
//   WEIGHTD_FAKE_CUDA_MIG, _PROHIBITED, _NO_IPC, _NO_UVA, _NO_READ_ONLY=0,2  ordinals of GPUs that
//       are so; the last registers no memory that is mapped read-only
//   CUDA_VISIBLE_DEVICES                   ordinals or UUIDs, as the driver takes it
//
// GPU number N has the UUID GPU-fa4ec0da-0000-4000-8000-0000000000NN (hexadecimal).

// For tests in the same process, found with dlsym (see fake_cuda_control.h).
extern "C" {
// Replaces the failures of the environment and counts calls from zero.
void fake_cuda_set_failures(const char* plan);
// While held, no copy runs.
void fake_cuda_hold_copies(int hold);
// Moves the reports so far to `buffer`, a line each, as many as fit; returns the bytes written.
size_t fake_cuda_take_reports(char* buffer, size_t size);
}

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_FAKE_CUDA_H_
