#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_RUN_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_RUN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/history/history.h"
#include "tests/integration/history/history_clients.h"
#include "tests/integration/history/history_operator.h"
#include "tests/integration/history/volume_publisher.h"

namespace weightd::testing {

// The seed of a run: $WEIGHTD_HISTORY_SEED, else another one each time.
uint64_t HistorySeed();
// How many client processes: $WEIGHTD_HISTORY_CLIENTS, else `usual`.
int HistoryClientCount(int usual);

struct RunOptions {
  uint64_t seed = 0;
  ClientsOptions clients;     // their seeds come from the one above
  OperatorOptions operators;  // likewise; two of them
};

// Lets clients, operators and the publisher loose on a daemon until all clients have ended, evicts
// what is left, and returns what was seen. The seed decides what each of them does; how they
// interleave is the machine's.
History RunHistory(const RunOptions& options, VolumePublisher& publisher);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_RUN_H_
