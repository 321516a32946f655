#ifndef WEIGHTD_DAEMON_MAIN_MAN_PAGE_H_
#define WEIGHTD_DAEMON_MAIN_MAN_PAGE_H_

#include <string>

namespace weightd {

// For help as well.
inline constexpr const char* kWeightdExamples =
    "weightd --root /models\n"
    "weightd --root /models --socket-dir /run/weightd --preload org/name\n"
    "weightd --config /etc/weightd.textproto --log.format JSON\n"
    "weightd --config /etc/weightd.textproto --check-config";

// weightd(8): the flags of the program and every setting of the configuration's schema, with the
// help that stands there. Thread-safe.
std::string WeightdManPage();

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_MAN_PAGE_H_
