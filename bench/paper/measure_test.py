#!/usr/bin/env python3
"""What is kept and what is measured again, and the verdicts. test.sh runs it."""
from __future__ import annotations

import json
import tempfile
import unittest
from pathlib import Path
from typing import Any

from measure import kept, results_of
from page import AGREES, DIFFERS, PARTLY, UNDECIDED, apart, compared


class Kept(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.program = self.folder / "program"
        self.program.write_text("first")
        self.times = 0

    def ask(self, repetitions: int = 3) -> int:
        def measure() -> int:
            self.times += 1
            return self.times

        return kept(self.folder / "kept.json", [self.program, repetitions], measure)["value"]

    def test_is_measured_once(self) -> None:
        self.assertEqual([self.ask(), self.ask()], [1, 1])

    def test_is_measured_again_with_other_settings_or_another_program(self) -> None:
        self.ask()
        self.assertEqual(self.ask(repetitions=5), 2)
        self.program.write_text("second")
        self.assertEqual(self.ask(repetitions=5), 3)

    def test_is_measured_again_where_there_is_something_else(self) -> None:
        for other in ('{"value": 7}', "[7]"):
            (self.folder / "kept.json").write_text(other)
            self.assertEqual(self.ask(), self.times)
        self.assertEqual(self.times, 2)

    def test_a_measurement_that_fails_leaves_nothing(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            kept(self.folder / "kept.json", [], lambda: 1 // 0)
        self.assertFalse((self.folder / "kept.json").exists())


class Results(unittest.TestCase):
    def entry(self, name: str, cpu_time: float, **more: Any) -> dict[str, Any]:
        return {"run_name": name, "run_type": "iteration", "cpu_time": cpu_time, **more}

    def test_are_of_the_fastest_repetition(self) -> None:
        report = {"benchmarks": [self.entry("a", 4.0, mlp_ms=3.0), self.entry("a", 2.0, mlp_ms=1.5), self.entry("a", 3.0, mlp_ms=2.5)]}
        a = results_of(report)["a"]
        self.assertEqual((a.ms, a["mlp_ms"], a.spread), (2.0, 1.5, 0.5))

    def test_lack_what_was_left_out(self) -> None:
        report = {"benchmarks": [self.entry("b", 0.0, error_occurred=True, error_message="too many"), self.entry("a", 1.0)]}
        self.assertEqual(list(results_of(json.loads(json.dumps(report)))), ["a"])


class Verdicts(unittest.TestCase):
    def test_gains(self) -> None:
        for here, verdict in ((5.1, AGREES), (4.9, PARTLY), (1.1, PARTLY), (1.0, UNDECIDED), (-1.0, UNDECIDED), (-1.1, DIFFERS)):
            self.assertEqual(compared(here, 10, 1), verdict, here)
        self.assertEqual(compared(3, 4, 3.5), UNDECIDED)

    def test_groups(self) -> None:
        self.assertEqual(apart([3, 4], [1, 2]), AGREES)
        self.assertEqual(apart([1, 2], [3, 4]), DIFFERS)
        self.assertEqual(apart([1, 4], [2, 3]), UNDECIDED)
        self.assertEqual(apart([2], [2]), UNDECIDED)


if __name__ == "__main__":
    unittest.main()
