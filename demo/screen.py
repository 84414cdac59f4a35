# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: steps with the time they take, and text. Colours and a live line only on a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

Colour = Literal["bold", "dim", "red", "green", "cyan"]

_CODES: dict[Colour, str] = {"bold": "1", "dim": "2", "red": "31;1", "green": "32", "cyan": "36"}
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S = 0.1
_ROOM = 14  # columns for what stands around the text of a live line


class Step:
    """A step in progress. `detail` may be changed while it runs; it is shown behind the step's text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.detail = ""
        self.started = time.monotonic()

    def __str__(self) -> str:
        return f"{self.text}: {self.detail}" if self.detail else self.text

    @property
    def seconds(self) -> float:
        """How long the step has taken so far."""
        return time.monotonic() - self.started


class Screen:
    """Writes to `out`. Without a terminal, or with NO_COLOR set (no-color.org), it is plain text."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._live = out.isatty()
        self._coloured = self._live and "NO_COLOR" not in os.environ

    def paint(self, text: str, colour: Colour) -> str:
        """Return `text` in a colour, or unchanged where there are none."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self._coloured else text

    def print(self, text: str = "") -> None:
        """Write a line."""
        self._out.write(f"{text}\n")
        self._out.flush()

    def heading(self, text: str) -> None:
        """Write a heading with an empty line before it."""
        self.print(f"\n{self.paint(text, 'bold')}")

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Show that `text` is going on, then whether it was done and how long it took."""
        step = Step(text)
        ended = threading.Event()
        spinner = threading.Thread(target=self._spin, args=(step, ended), daemon=True)
        if self._live:
            spinner.start()
        mark = self.paint("✗", "red") if self._live else "FAILED"
        try:
            yield step
            mark = self.paint("✓", "green") if self._live else "ok"
        finally:
            ended.set()
            if self._live:
                spinner.join()
                self._out.write("\r\x1b[K")
            self.print(f"  {mark} {step}  {self.paint(f'{step.seconds:.1f} s', 'dim')}")

    def _spin(self, step: Step, ended: threading.Event) -> None:
        frame = 0
        while not ended.wait(_FRAME_S):
            frame += 1
            mark = self.paint(_SPINNER[frame % len(_SPINNER)], "cyan")
            text = str(step)[: shutil.get_terminal_size().columns - _ROOM]  # a line that wraps could not be taken back
            self._out.write(f"\r\x1b[K  {mark} {text}  {self.paint(f'{step.seconds:.0f} s', 'dim')}")
            self._out.flush()
