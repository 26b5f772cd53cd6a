"""Which declared variables look like secrets: those that are, and not all that have "token" in their name."""

from __future__ import annotations

import pytest

from repro_env.cli.declared_secrets import looks_secret


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", "abc"),
        ("WANDB_API_KEY", "0f3a"),
        ("DB_PASSWORD", "hunter2"),
        ("password", "x"),
        ("AWS_SECRET_ACCESS_KEY", "wJalr"),
        ("AWS_ACCESS_KEY_ID", "whatever"),
        ("ANYTHING", "hf_" + "a" * 34),
        ("ANYTHING", "ghp_" + "b" * 36),
        ("ANYTHING", "AKIAIOSFODNN7EXAMPLE"),
    ],
)
def test_secrets(name: str, value: str) -> None:
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("MAX_TOKENS", "512"),
        ("EOS_TOKEN", "</s>"),
        ("PAD_TOKEN", "<pad>"),
        ("USE_AUTH_TOKEN", "True"),
        ("HF_TOKEN", ""),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/repro/input/key.json"),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        ("PYTHONHASHSEED", "0"),
        ("MODE", "sk-fast"),
        ("MONKEY", "x"),
    ],
)
def test_no_secrets(name: str, value: str) -> None:
    assert not looks_secret(name, value)
