#!/usr/bin/env python3
"""bench/compare.py passes and fails where it should: it compares programs that only say how long they took."""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "compare.py"
A, B = "latency/a/threads:1/real_time", "latency/b/threads:2/real_time"

# Says the n-th of its times in its n-th run, and notes in `order` that it ran.
PROGRAM = """#!/bin/sh
cd "$(dirname "$0")"
case $* in
*list_tests*) cat {name}.names ;;
*)
    echo {name} >> order
    read -r time rest < {name}.times
    echo "$rest" > {name}.times
    echo "{{\\"benchmarks\\": [{{\\"name\\": \\"any\\", \\"real_time\\": $time}}]}}"
    [ "$time" != broken ]
    ;;
esac
"""
# Counts as many instructions as the program says that it took time.
VALGRIND = """#!/bin/sh
for argument; do
    case $argument in
    --callgrind-out-file=*) counts=${argument#*=} ;;
    /*) program=$argument ;;
    esac
done
"$program" | sed 's/.*"real_time": \\([0-9]*\\).*/totals: \\1/' > "$counts"
"""


class Compare(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.write("valgrind", VALGRIND)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def run_with(self, base: str, tree: str, *arguments: str, names: tuple[str, ...] = (A,)) -> int:
        """The exit status, for the times of each run."""
        for name, times in (("base", base), ("tree", tree)):
            self.write(name, PROGRAM.format(name=name))
            self.write(f"{name}.times", times + "\n")
            self.write(f"{name}.names", "\n".join(names) + "\n")
        (self.folder / "order").write_text("")
        programs = [str(self.folder / name) for name in ("base", "tree")]
        environment = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        done = subprocess.run([sys.executable, str(SCRIPT), *programs, *arguments], capture_output=True, text=True, env=environment)
        self.printed, self.errors = done.stdout, done.stderr
        return done.returncode

    def test_as_fast_or_faster_passes(self) -> None:
        self.assertEqual(self.run_with("10 10 10", "10 10 10", "--rounds=3"), 0)
        self.assertEqual(self.run_with("10 10 10", "8 8 8", "--rounds=3"), 0)
        self.assertIn("| a/threads:1 | 0.800 | 0.800 to 0.800 |  |", self.printed)

    def test_slower_fails(self) -> None:
        self.assertEqual(self.run_with("10 10 10", "10.3 10.3 10.3", "--rounds=3"), 1)
        self.assertIn("| a/threads:1 | 1.030 | 1.030 to 1.030 | slower |", self.printed)

    def test_one_slower_benchmark_of_two_fails(self) -> None:
        self.assertEqual(self.run_with("10 20", "5 21", "--rounds=1", names=(A, B)), 1)
        self.assertIn("| a/threads:1 | 0.500 |  |  |", self.printed)
        self.assertIn("| b/threads:2 | 1.050 |  | slower |", self.printed)

    def test_the_bound_is_an_option(self) -> None:
        self.assertEqual(self.run_with("100", "103", "--rounds=1", "--bound=1.03"), 0)
        self.assertEqual(self.run_with("100", "101", "--rounds=1", "--bound=1.005"), 1)

    def test_one_disturbed_round_does_not_count(self) -> None:
        self.assertEqual(self.run_with("10 10 10", "10 30 10", "--rounds=3"), 0)
        self.assertEqual(self.run_with("10 30 10", "11 11 11", "--rounds=3"), 1)

    def test_ratios_are_of_the_same_round(self) -> None:
        # The machine becomes slower and slower: the medians of the times alone would be equal.
        self.assertEqual(self.run_with("10 20 40 80 160", "11 22 44 88 176", "--rounds=5"), 1)
        self.assertIn("| 1.100 | 1.100 to 1.100 |", self.printed)

    def test_the_first_alternates(self) -> None:
        self.run_with("1 1 1", "1 1 1", "--rounds=3")
        self.assertEqual((self.folder / "order").read_text().split(), ["base", "tree", "tree", "base", "base", "tree"])

    def test_what_cannot_be_measured_does_not_pass(self) -> None:
        self.assertEqual(self.run_with("10", "broken", "--rounds=1"), 2)
        self.assertIn("tree", self.errors)
        self.assertEqual(self.run_with("10", "10", "--rounds=1", names=()), 2)
        self.assertEqual(self.run_with("10", "0", "--instructions"), 2)  # the function was not found

    def test_instructions(self) -> None:
        self.assertEqual(self.run_with("1000 0", "1010 0", "--instructions", names=(A, B)), 0)
        self.assertIn("| a/threads:1 | 1.010 |", self.printed)
        self.assertNotIn("b/", self.printed)  # two threads
        self.assertEqual(self.run_with("1000", "1030", "--instructions"), 1)


if __name__ == "__main__":
    unittest.main()
