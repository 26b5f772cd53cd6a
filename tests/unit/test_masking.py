"""Which parts of a secret are masked, and what of a stream waits for more."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from repro_env.edges.child import send, supervise
from repro_env.edges.masking import Masker, maskable
from repro_env.edges.output import Output, output_to

KEY = "-----BEGIN KEY-----\n  MIIEvQ==\r\nabc\n\n-----END KEY-----\n"


def test_each_line_is_masked_by_itself_without_the_space_around_it() -> None:
    assert maskable([KEY]) == (b"-----BEGIN KEY-----", b"-----END KEY-----", b"MIIEvQ==")


def test_what_is_shorter_than_four_bytes_is_not_masked() -> None:
    assert maskable(["abc", "é", "", "abcd", "éé"]) == (b"abcd", "éé".encode())


def test_a_value_that_is_no_text_is_masked_as_its_bytes() -> None:
    assert maskable([os.fsdecode(b"\xff\xfe12")]) == (b"\xff\xfe12",)


def test_longer_ones_go_first_and_what_overlaps_is_masked_from_the_left() -> None:
    masker = Masker(maskable(["token", "token-of-mine", "mine-too"]))
    assert masker.feed(b"token token-of-mine-too token-of-yours\n") == b"*** ***-too ***-of-yours\n"


def test_what_may_be_the_beginning_waits_and_nothing_else_does() -> None:
    masker = Masker(maskable(["hunter2!"]))
    assert masker.feed(b"password: hun") == b"password: "
    assert masker.feed(b"ter2") == b""
    assert masker.feed(b"!!") == b"***!"
    assert masker.feed(b"ready? ") == b"ready? "
    assert masker.feed(b"hunter") == b""
    assert masker.feed(b"s hunt") == b"hunters "
    assert masker.finish() == b"hunt"
    assert masker.finish() == b""


def test_a_whole_one_waits_while_it_may_become_a_longer_one() -> None:
    masker = Masker(maskable(["hunter", "hunter2000"]))
    assert masker.feed(b"hunter") == b""
    assert masker.feed(b"2") == b""
    assert masker.feed(b"1") == b"***21"
    assert masker.feed(b"hunter20") == b""
    assert masker.finish() == b"***20"


def test_both_streams_and_the_log_are_masked_each_by_itself(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    script = "printf 'a hun'; printf 'b hun' >&2; sleep 0.2; printf 'ter2 c'; printf 'gry hunter2 hun' >&2"
    with output_to(tmp_path / "log", ["hunter2"]) as output:
        supervise(["/bin/sh", "-c", script], env={"PATH": os.defpath}, output=output, deliver=send)
    captured = capfdbinary.readouterr()
    assert captured.out == b"a *** c"
    assert captured.err == b"b hungry *** hun"
    log = (tmp_path / "log").read_bytes()
    assert b"hunter2" not in log
    assert sorted(log) == sorted(captured.out + captured.err)


def test_without_secrets_nothing_is_looked_for(tmp_path: Path) -> None:
    with output_to(tmp_path / "log", ["abc"]) as output:
        assert output._maskers == {}
    assert Output(None)._maskers == {}


def test_a_large_log_is_masked_about_as_fast_as_it_comes() -> None:
    """Twenty megabytes a second is far below what it does, and far above what quadratic work would."""
    masker = Masker(maskable(["hf_" + "x" * 37, "0f3a" * 10, "a" * 2000]))
    line = b"epoch 12: loss 0.12345 accuracy 0.98 hf_x aaaa 0f3a\n"
    chunk, began = line * (65536 // len(line)), time.process_time()
    for _ in range(320):
        masker.feed(chunk)
    assert time.process_time() - began < 320 * len(chunk) / 20e6
