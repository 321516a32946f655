#ifndef WEIGHTD_COMMON_LEAVE_PROCESS_H_
#define WEIGHTD_COMMON_LEAVE_PROCESS_H_

namespace weightd {

// Ends the process although some of its calls never return.
//
// Helpers that a dead volume keeps (common/volume_call.h) share memory and descriptors with
// their process, and outlive it until the volume answers. So what others wait for is given back
// first: the lock of the socket directory, all sockets and pipes, of the standard streams, too, and
// the memory of models. Files on volumes stay open: closing one asks its volume.
//
// Nothing else of the process may be relied on afterwards: a thread that touches what was given
// back ends the process with the same status.
[[noreturn]] void LeaveProcess(int status);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_LEAVE_PROCESS_H_
