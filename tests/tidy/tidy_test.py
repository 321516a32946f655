"""Each rule of tidy.py fires on a small tree that breaks it, and is quiet on one that does not."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cpp_text  # noqa: E402
import tidy  # noqa: E402

LONG_BODY = "  x++;\n" * tidy.FUNCTION_LINES_MAX
SLEEP = "slee" + "p"


def report(rule: str, **files: str) -> list[str]:
    """What the rule says of a tree; `daemon__storage__x.cc` is the file daemon/storage/x.cc."""
    with tempfile.TemporaryDirectory() as directory:
        for name, text in files.items():
            stem, _, ending = name.rpartition("_")
            path = Path(directory, stem.replace("__", "/") + "." + ending)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = tidy.main(["--root", directory, "--rule", rule])
    lines = out.getvalue().splitlines()
    assert code in (0, 1)
    return lines if code == 1 else []


class IncludesTest(unittest.TestCase):
    def test_names_file_line_and_both_folders(self) -> None:
        text = "\n" * 8 + '#include "daemon/lease/lease.h"\n'
        self.assertEqual(
            report("includes", daemon__storage__x_cc=text),
            ["daemon/storage/x.cc:9: storage may not include lease"],
        )

    def test_goes_one_way_only(self) -> None:
        wrong = [
            ("common__a_h", "daemon/format/b.h"),
            ("common__a_h", "weightd/v1/weight_cache.pb.h"),
            ("daemon__catalog__a_h", "daemon/device/b.h"),
            ("daemon__staging__a_h", "daemon/catalog/b.h"),
            ("daemon__residency__a_h", "weightd/v1/weight_cache.pb.h"),
            ("daemon__service__a_h", "daemon/main/b.h"),
            ("daemon__service__a_h", "daemon/config/b.h"),
            ("daemon__service__a_h", "client/cpp/client.h"),
            ("client__cpp__a_h", "daemon/format/b.h"),
            ("client__cpp__a_h", "client/cli/b.h"),
            ("client__cli__a_h", "daemon/format/b.h"),
            ("daemon__main__a_h", "tests/support/b.h"),
        ]
        for name, header in wrong:
            with self.subTest(name=name, header=header):
                self.assertEqual(len(report("includes", **{name: f'#include "{header}"\n'})), 1)

    def test_allows_the_direction_of_the_design(self) -> None:
        right = [
            ("daemon__main__a_cc", "daemon/config/b.h"),
            ("daemon__config__a_cc", "daemon/service/b.h"),
            ("daemon__service__a_cc", "weightd/v1/weight_cache.grpc.pb.h"),
            ("daemon__residency__a_cc", "daemon/catalog/b.h"),
            ("daemon__staging__a_cc", "daemon/storage/b.h"),
            ("client__cli__a_cc", "client/cpp/client.h"),
            ("tests__unit__lease__a_cc", "daemon/lease/b.h"),
        ]
        for name, header in right:
            with self.subTest(name=name, header=header):
                self.assertEqual(report("includes", **{name: f'#include "{header}"\n'}), [])

    def test_ignores_a_comment(self) -> None:
        text = '// #include "daemon/lease/lease.h"\n/*\n#include "daemon/lease/lease.h"\n*/\n'
        self.assertEqual(report("includes", daemon__storage__x_cc=text), [])


class SeamsTest(unittest.TestCase):
    def test_liburing_stays_in_storage(self) -> None:
        text = "#include <liburing.h>\n"
        self.assertEqual(report("seams", daemon__storage__a_cc=text), [])
        self.assertEqual(
            report("seams", daemon__staging__a_cc=text),
            ["daemon/staging/a.cc:1: only daemon/storage may include liburing.h"],
        )

    def test_what_a_simulation_runs_asks_the_executor(self) -> None:
        for text in (
            'auto t = Thread::Start("a", body);\n',
            "absl::SleepFor(wait);\n",
            "mu_.AwaitWithTimeout(condition, wait);\n",
            "const absl::Time now = SteadyNow();\n",
        ):
            for name in ("daemon__staging__a_cc", "daemon__residency__reaper_cc"):
                self.assertEqual(len(report("seams", **{name: text})), 1, text)
            self.assertEqual(report("seams", daemon__storage__a_cc=text), [])
        text = 'executor_.Start("a", body);\nexecutor_.Await(mu_, condition, wait);\nexecutor_.SteadyNow();\n'
        self.assertEqual(report("seams", daemon__staging__a_cc=text), [])

    def test_cuda_header_stays_behind_its_seam(self) -> None:
        text = "#include <cuda.h>\n"
        for name in ("common__cuda_driver_h", "daemon__device__a_cc", "client__cpp__a_cc", "tests__support__fake_cuda__a_cc"):
            self.assertEqual(report("seams", **{name: text}), [])
        for name in ("common__other_h", "daemon__lease__a_cc", "client__cli__a_cc"):
            self.assertEqual(len(report("seams", **{name: text})), 1)

    def test_cuda_calls_stay_behind_their_seam(self) -> None:
        text = "// cuInit(0)\nint cursor();\nvoid F() { driver->cuMemAlloc(&p, 1); }\n"
        self.assertEqual(report("seams", daemon__device__a_cc=text), [])
        (line,) = report("seams", daemon__staging__a_cc=text)
        self.assertTrue(line.startswith("daemon/staging/a.cc:3: cuMemAlloc:"), line)


class LengthTest(unittest.TestCase):
    def test_file_at_and_above_the_limit(self) -> None:
        self.assertEqual(report("file_length", common__a_cc="\n" * tidy.FILE_LINES_MAX), [])
        self.assertEqual(len(report("file_length", common__a_cc="\n" * (tidy.FILE_LINES_MAX + 1))), 1)

    def test_function_at_and_above_the_limit(self) -> None:
        at_limit = "void F() {\n" + "  x++;\n" * (tidy.FUNCTION_LINES_MAX - 2) + "}\n"
        self.assertEqual(report("function_length", common__a_cc=at_limit), [])
        self.assertEqual(
            report("function_length", common__a_cc="\n" + at_limit.replace("}", "  x++;\n}")),
            ["common/a.cc:2: function F has 71 lines, at most 70"],
        )

    def test_scopes_and_tables_are_not_functions(self) -> None:
        methods = "  int f() { return 1; }\n" * 80
        table = "const int kTable[] = {\n" + "  Make(1),\n" * 80 + "};\n"
        text = f"namespace w {{\ntemplate <class T>\nclass A final : public B {{\n public:\n{methods}}};\n{table}}}\n"
        self.assertEqual(report("function_length", common__a_h=text), [])


class FunctionsTest(unittest.TestCase):
    def names(self, text: str) -> list[str]:
        return [function.name for function in cpp_text.functions(cpp_text.blank(text, literals=True))]

    def test_finds_methods_in_classes_in_namespaces(self) -> None:
        text = "namespace a {\nclass B {\n public:\n  int c() const { return 1; }\n};\nint B::d() { return 2; }\n}"
        self.assertEqual(self.names(text), ["c", "B::d"])

    def test_counts_a_lambda_as_part_of_its_function(self) -> None:
        self.assertEqual(self.names("void f() { auto g = [](int x) { return x; }; }"), ["f"])

    def test_survives_braces_in_literals_and_directives(self) -> None:
        text = (
            '#define OPEN(x) \\\n  if (x) {\nconst char* k = "{(";\nchar c = \'{\';\n'
            'auto r = R"json({"a": [)json";\nint n = 1\'000\'000;\nvoid f() { /* } */ }\n'
        )
        self.assertEqual(self.names(text), ["f"])

    def test_names_a_googletest_case(self) -> None:
        self.assertEqual(self.names("TEST_F(LeaseTest, Ends) { x(); }"), ["LeaseTest.Ends"])

    def test_a_constructor_with_braced_members_is_one_function_at_least(self) -> None:
        text = "A::A(int b)\n    : b_{b},\n      c_(1) {\n" + LONG_BODY + "}\n"
        lines = max(f.line_count for f in cpp_text.functions(text))
        self.assertGreater(lines, tidy.FUNCTION_LINES_MAX)


class SleepTest(unittest.TestCase):
    def test_fires_in_tests_of_every_language(self) -> None:
        for text in ("absl::SleepFor(x);\n", f"std::this_thread::{SLEEP}_for(x);\n", f"u{SLEEP}(1);\n"):
            self.assertEqual(len(report("sleep", tests__unit__a_cc=text)), 1)
        self.assertEqual(len(report("sleep", tests__a_py=f"time.{SLEEP}(1)\n")), 1)
        self.assertEqual(len(report("sleep", tests__a_sh=f"  {SLEEP} 0.1\n")), 1)

    def test_only_in_tests(self) -> None:
        self.assertEqual(report("sleep", daemon__storage__a_cc="absl::SleepFor(x);\n"), [])

    def test_needs_a_reason_to_be_exempt(self) -> None:
        self.assertEqual(report("sleep", tests__a_cc="absl::SleepFor(x);  // tidy: the fake's slow copy\n"), [])
        self.assertEqual(report("sleep", tests__a_cc="// tidy: the fake's slow copy\nabsl::SleepFor(x);\n"), [])
        self.assertEqual(len(report("sleep", tests__a_cc="absl::SleepFor(x);  // tidy: ok\n")), 1)

    def test_ignores_comments_and_strings(self) -> None:
        self.assertEqual(report("sleep", tests__a_cc='// absl::SleepFor(x)\nf("absl::SleepFor(x)");\n'), [])


class GuardTest(unittest.TestCase):
    def test_matches_the_path(self) -> None:
        text = "#ifndef WEIGHTD_COMMON_A_B_H_\n#define WEIGHTD_COMMON_A_B_H_\n#endif\n"
        self.assertEqual(report("guard", common__a_b_h=text), [])
        self.assertEqual(
            report("guard", common__other_h=text),
            ["common/other.h:1: include guard must be WEIGHTD_COMMON_OTHER_H_"],
        )

    def test_of_a_public_header_is_as_users_include_it(self) -> None:
        text = "#ifndef WEIGHTD_CLIENT_H_\n#define WEIGHTD_CLIENT_H_\n#endif\n"
        self.assertEqual(report("guard", client__cpp__include__weightd__client_h=text), [])

    def test_is_missing(self) -> None:
        self.assertEqual(len(report("guard", common__a_h="int x;\n")), 1)

    def test_is_not_pragma_once(self) -> None:
        (line,) = report("guard", common__a_h="\n#pragma once\n")
        self.assertEqual(line, "common/a.h:2: #pragma once: use an include guard")


class TodoTest(unittest.TestCase):
    def test_fires_on_the_words_alone(self) -> None:
        for word in ("TO" "DO", "FIX" "ME", "XX" "X"):
            self.assertEqual(report("todo", common__a_cc=f"\n// {word}: x\n"), [f"common/a.cc:2: {word}: file an issue instead"])
        self.assertEqual(report("todo", common__a_cc="// XXH3 and todos\n"), [])



class LinksTest(unittest.TestCase):
    def test_lead_to_what_is_there(self) -> None:
        text = """# What to do
[a](other.md) [b](other.md#a-row) [c](../deploy) [d](#what-to-do) [e](https://x.y/z#w)
"""
        self.assertEqual(report("links", deploy__a_md=text, deploy__other_md='| <a id="a-row"></a>`x` |\n'), [])

    def test_fires_on_what_is_not(self) -> None:
        self.assertEqual(report("links", deploy__a_md="\n[a](no.md)\n"), ["deploy/a.md:2: there is no no.md"])
        self.assertEqual(
            report("links", deploy__a_md="[a](#none) [b](b.md#x)\n", deploy__b_md="```\n# x\n```\n"),
            ["deploy/a.md:1: deploy/a.md has no #none", "deploy/a.md:1: b.md has no #x"],
        )


if __name__ == "__main__":
    unittest.main()
