#ifndef WEIGHTD_TESTS_UNIT_CLI_VERBS_FIXTURE_H_
#define WEIGHTD_TESTS_UNIT_CLI_VERBS_FIXTURE_H_

#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/weightctl.h"
#include "gtest/gtest.h"
#include "tests/support/common/temp_dir.h"
#include "tests/unit/client/fake_service.h"

namespace weightd::cli {

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

// Whole command lines against the double of the service.
class VerbsTest : public ::testing::Test {
 protected:
  Outcome Run(std::vector<const char*> arguments, int out_fd = -1) const {
    arguments.insert(arguments.begin(), {"weightctl", "--socket-dir", dir_.path().c_str()});
    return RunAll(arguments, out_fd);
  }
  // With argv[0]. With `out_fd`, what is written goes there, and not into the outcome.
  static Outcome RunAll(const std::vector<const char*>& arguments, int out_fd = -1) {
    std::ostringstream out;
    std::ostringstream err;
    FdOutput sink(out_fd);
    std::ostream to_sink(&sink);
    Io io{.out = out_fd < 0 ? out : to_sink, .err = err, .sink = out_fd < 0 ? nullptr : &sink};
    const int code = RunWeightctl(static_cast<int>(arguments.size()), arguments.data(), io);
    return {code, out.str(), err.str()};
  }
  static v1::Model SmallModel() {
    v1::Model model;
    model.set_name("org/llama");
    model.set_file_bytes(5'000'000'000);
    model.set_shard_count(2);
    v1::Generation* generation = model.add_generations();
    generation->set_id(4);
    generation->set_device("host");
    generation->set_state(v1::RESIDENT);
    generation->set_allocated_bytes(5'000'000'000);
    return model;
  }

  weightd::testing::TempDir dir_;
  weightd::testing::FakeService service_{dir_.path()};
};

}  // namespace weightd::cli

#endif  // WEIGHTD_TESTS_UNIT_CLI_VERBS_FIXTURE_H_
