#ifndef WEIGHTD_TESTS_CONTRACT_STORAGE_WITHOUT_SYSTEM_CALL_H_
#define WEIGHTD_TESTS_CONTRACT_STORAGE_WITHOUT_SYSTEM_CALL_H_

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>

#include "gtest/gtest.h"

namespace weightd::testing {

// Runs `test` on a thread for which the kernel answers `system_call` with `error`, as a container's
// seccomp profile does; with `operation`, only where that is the call's second argument.
template <typename Test>
void WithoutSystemCall(uint32_t system_call, uint32_t error, Test test,
                       std::optional<uint32_t> operation = std::nullopt) {
  std::thread([&] {
    const uint16_t compare = operation.has_value() ? BPF_JEQ : BPF_JGE;  // all are at least 0
    std::array<sock_filter, 6> code = {{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, system_call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + sizeof(uint64_t)),
        BPF_JUMP(BPF_JMP | compare | BPF_K, operation.value_or(0), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog program{.len = code.size(), .filter = code.data()};
    ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
    test();
  }).join();
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_STORAGE_WITHOUT_SYSTEM_CALL_H_
