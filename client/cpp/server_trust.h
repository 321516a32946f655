#ifndef WEIGHTD_CLIENT_CPP_SERVER_TRUST_H_
#define WEIGHTD_CLIENT_CPP_SERVER_TRUST_H_

#include <string>

#include "absl/status/status.h"

namespace weightd::client {

// Whether who listens at the other end of `socket` may be believed, for a socket of the directory
// that is looked at when nobody named one: others may have made it (/tmp/weightd-<uid>), and would
// serve whatever weights they like.
//
// The directory must be one, not a link to one, which others cannot write to. It must be ours or
// root's, or stand in a directory that only root and we can write to: there nobody else can have
// put it (/run/weightd, which systemd gives to the service's user). Who listens must be we, root or
// the directory's owner. PERMISSION_DENIED/PERMISSION_DENIED with what was found and how to go on.
//
// Asked after connecting: what is looked at then cannot be put in the place of what was connected
// to. Thread-safe.
absl::Status CheckDefaultServer(const std::string& directory, int socket);

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_SERVER_TRUST_H_
