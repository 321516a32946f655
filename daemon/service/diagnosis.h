#ifndef WEIGHTD_DAEMON_SERVICE_DIAGNOSIS_H_
#define WEIGHTD_DAEMON_SERVICE_DIAGNOSIS_H_

#include "daemon/service/access_list.h"
#include "daemon/service/daemon_info.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd {

// The answer to Diagnose, to a caller who may operate or, without `operates`, attach alone: for him
// nothing is read, and he is not told whom the lists name. Takes as long as the roots' reads do,
// seconds each. Thread-safe.
void Diagnose(const DaemonInfo& info, const AccessOptions& access, bool operates,
              const v1::DiagnoseRequest& request, v1::DiagnoseResponse& response);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_DIAGNOSIS_H_
