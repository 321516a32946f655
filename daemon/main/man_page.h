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

inline constexpr const char* kConfigHelp = "Configuration, protobuf text format";
inline constexpr const char* kCheckConfigHelp =
    "Say whether configuration and flags are right, and start nothing";

// weightd(8): the flags of the program and every setting of the configuration's schema, with the
// help that stands there. Thread-safe.
std::string WeightdManPage();

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_MAN_PAGE_H_
