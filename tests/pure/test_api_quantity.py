"""Quantities as Kubernetes writes them."""

from __future__ import annotations

import pytest

from pool_operator.api.quantity import in_words, parse_bytes

SIZES = {
    "0": 0,
    "1024": 1024,
    "1Ki": 1024,
    "1.5Gi": 1_610_612_736,
    "8Gi": 8 * 1024**3,
    "7650M": 7_650_000_000,
    "2k": 2000,
    "1e9": 1_000_000_000,
    "12E2": 1200,
    "1500m": 1,
    "1Ti": 1024**4,
    "3E": 3 * 10**18,
    ".5Mi": 524_288,
}


@pytest.mark.parametrize("text", SIZES)
def test_bytes(text):
    assert parse_bytes(text) == SIZES[text]


def test_a_bare_number_is_bytes():
    assert parse_bytes(1500) == 1500


@pytest.mark.parametrize(
    "wrong", ["", "8 Gi", "8GB", "-1Gi", "Gi", "1e", "0x10", None, True, 1.5, ["8Gi"], "9" * 20 + "Zi"]
)
def test_what_is_none_is_told_with_an_example(wrong):
    with pytest.raises(ValueError, match="write it like 1500Mi or 8Gi"):
        parse_bytes(wrong)


@pytest.mark.parametrize(("amount", "words"), [(1024**3, "1Gi"), (1536 * 1024**2, "1536Mi"), (0, "0Mi")])
def test_in_words(amount, words):
    assert in_words(amount) == words
