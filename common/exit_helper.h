#ifndef WEIGHTD_COMMON_EXIT_HELPER_H_
#define WEIGHTD_COMMON_EXIT_HELPER_H_

namespace weightd {

// Starts, once in a process, a helper that ends after it, however that ends.
//
// Who is the last of those who share a process's descriptors closes them, and waits for the volumes
// of its files: a FUSE server that does not answer so keeps a process that was killed, or one of
// its helpers with all that it holds. The exit helper shares the descriptors and the memory. When
// the last thread has ended, it gives back what others wait for, the locks, sockets, pipes and
// memory of models, and then closes the rest, which may last.
//
// It is a process of its own to the kernel, that nothing but SIGKILL ends before. Where there is
// none (no process for it, another processor, a filter of system calls) a process ends as others
// do. Thread-safe; cheap once there is one.
void EnsureExitHelper();

}  // namespace weightd

#endif  // WEIGHTD_COMMON_EXIT_HELPER_H_
