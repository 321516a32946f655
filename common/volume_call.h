#ifndef WEIGHTD_COMMON_VOLUME_CALL_H_
#define WEIGHTD_COMMON_VOLUME_CALL_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

// System calls that a volume may never answer: of the roots, and of the daemon's own files
// (common/volume_file.h).
//
// A thread that waits for the answer of a dead FUSE server cannot be ended, not even by SIGKILL,
// and a process does not end before its last thread: whoever started the daemon would wait for the
// volume. So each thread that calls has a helper, which shares the daemon's memory and descriptors
// but is a process of its own to the kernel: the helper makes the call, the thread waits for it,
// and a daemon that ends leaves a helper behind that the volume keeps, and nothing else.
//
// A helper is made at a thread's first call, with the limits (setrlimit(2)) that hold then, and
// goes with the thread. Where there can be none (another processor, a filter of system calls) the
// thread calls itself; where there is none now, for want of processes or memory, a call is refused.

namespace weightd {

// As syscall(2): -1 and errno for an error, EAGAIN without a helper now. Thread-safe.
long VolumeCall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0);

// Waits for a helper for as long as there is none: the thread that closed it itself could not be
// ended while the volume hangs.
void VolumeClose(int fd);

ssize_t VolumePread(int fd, void* to, size_t length, off_t offset);

// Of all threads, that were asked and are not answered yet. A process that ends before they are
// leaves their helpers behind, with its descriptors and memory.
int VolumeCallsRunning();

// Of the calling thread; for tests. 0: it has none.
pid_t VolumeHelperPid();

}  // namespace weightd

#endif  // WEIGHTD_COMMON_VOLUME_CALL_H_
