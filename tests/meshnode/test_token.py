"""Join tokens as text, and the founder's book of them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.errors import ExitCode, MeshError
from meshnode.token import (
    SEEDS_MAX,
    TOKEN_CHARS_MAX,
    TOKEN_PREFIX,
    TOKENS_MAX,
    JoinToken,
    TokenBook,
    format_token,
    parse_token,
)

TOKEN = JoinToken(
    "mesh", bytes(range(32)), ("127.0.0.1:7000", "[::1]:7000"), "00112233aabbccdd", b"s" * 32, 1_900_000_000.0
)
TEXT = format_token(TOKEN)
KEYS = [bytes([n]) * 32 for n in range(5)]
NOW = 1_800_000_000.0


def code_of(text: str) -> str:
    with pytest.raises(MeshError) as caught:
        parse_token(text)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.next_step
    return caught.value.code


@settings(deadline=None)
@given(
    st.text("abcXYZ019._-", min_size=1, max_size=64),
    st.lists(st.text(min_size=1, max_size=128).filter(lambda s: s.isprintable()), min_size=1, max_size=SEEDS_MAX),
    st.binary(min_size=32, max_size=32),
    st.floats(0, 1e11),
)
def test_round_trip(mesh: str, seeds: list[str], secret: bytes, expires: float) -> None:
    token = JoinToken(mesh, bytes(32), tuple(seeds), "0" * 16, secret, expires)
    text = format_token(token)
    assert parse_token(text) == token
    assert parse_token(f"  {text}\n") == token
    assert text.isascii()
    assert " " not in text


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_a_character_is_noticed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TEXT) - 1))
    other = data.draw(st.characters(exclude_characters=TEXT[at]))
    changed = TEXT[:at] + other + TEXT[at + 1 :]
    if changed.strip() != TEXT:
        assert code_of(changed) == "bad_token"


@settings(deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.text(min_size=1, max_size=20))
def test_cut_and_lengthened_tokens_are_noticed(at: int, more: str) -> None:
    assert code_of(TEXT[:at]) == "bad_token"
    if more.strip():
        assert code_of(TEXT + more) == "bad_token"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.booleans())
def test_any_text_raises_bad_token_alone(text: str, prefixed: bool) -> None:
    assert code_of(TOKEN_PREFIX + text if prefixed else text) == "bad_token"


def test_bounds() -> None:
    assert code_of(TOKEN_PREFIX + "A" * TOKEN_CHARS_MAX) == "bad_token"
    for wrong in [
        JoinToken("", TOKEN.ca_fingerprint, TOKEN.seeds, TOKEN.token_id, TOKEN.secret, 0.0),
        JoinToken("a b", TOKEN.ca_fingerprint, TOKEN.seeds, TOKEN.token_id, TOKEN.secret, 0.0),
        JoinToken("m", b"short", TOKEN.seeds, TOKEN.token_id, TOKEN.secret, 0.0),
        JoinToken("m", TOKEN.ca_fingerprint, (), TOKEN.token_id, TOKEN.secret, 0.0),
        JoinToken("m", TOKEN.ca_fingerprint, ("h:1",) * (SEEDS_MAX + 1), TOKEN.token_id, TOKEN.secret, 0.0),
        JoinToken("m", TOKEN.ca_fingerprint, ("h" * 129,), TOKEN.token_id, TOKEN.secret, 0.0),
        JoinToken("m", TOKEN.ca_fingerprint, TOKEN.seeds, "UPPER", TOKEN.secret, 0.0),
        JoinToken("m", TOKEN.ca_fingerprint, TOKEN.seeds, TOKEN.token_id, b"short", 0.0),
        JoinToken("m", TOKEN.ca_fingerprint, TOKEN.seeds, TOKEN.token_id, TOKEN.secret, float("inf")),
    ]:
        assert code_of(format_token(wrong)) == "bad_token"


def test_a_token_does_not_show_its_secret() -> None:
    assert "sss" not in repr(TOKEN)


# The book.


def book_in(path: Path) -> TokenBook:
    return TokenBook(path / "tokens.json", "mesh", bytes(32))


def refusal(book: TokenBook, token: JoinToken, key: bytes, now: float = NOW) -> str:
    with pytest.raises(MeshError) as caught:
        book.redeem(token.token_id, token.secret, key, now)
    assert caught.value.message
    return caught.value.code


def test_a_token_serves_as_often_as_it_says(tmp_path: Path) -> None:
    book = book_in(tmp_path)
    text, token = book.issue(60.0, 2, ("127.0.0.1:7000",), NOW)
    assert parse_token(text) == token
    assert token.expires_unix_s == NOW + 60
    book.redeem(token.token_id, token.secret, KEYS[0], NOW)
    book.redeem(token.token_id, token.secret, KEYS[1], NOW + 59)
    assert refusal(book, token, KEYS[2]) == "token_used_up"
    # Who was let in may ask again, as often as it likes, until the token expires.
    for _ in range(3):
        book.redeem(token.token_id, token.secret, KEYS[0], NOW + 59)
    assert refusal(book, token, KEYS[0], NOW + 60) == "token_expired"


def test_a_wrong_secret_or_id_is_a_bad_token(tmp_path: Path) -> None:
    book = book_in(tmp_path)
    _, token = book.issue(60.0, 1, ("h:1",), NOW)
    with pytest.raises(MeshError, match="did not issue"):
        book.redeem(token.token_id, b"x" * 32, KEYS[0], NOW)
    with pytest.raises(MeshError, match="did not issue"):
        book.redeem("f" * 16, token.secret, KEYS[0], NOW)
    book.redeem(token.token_id, token.secret, KEYS[0], NOW)  # neither has used it up


def test_uses_survive_a_restart_and_the_file_tells_no_secret(tmp_path: Path) -> None:
    book = book_in(tmp_path)
    _, token = book.issue(60.0, 1, ("h:1",), NOW)
    book.redeem(token.token_id, token.secret, KEYS[0], NOW)
    again = book_in(tmp_path)
    again.redeem(token.token_id, token.secret, KEYS[0], NOW)
    assert refusal(again, token, KEYS[1]) == "token_used_up"
    path = tmp_path / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token.secret.hex() not in path.read_text()


def test_a_use_that_cannot_be_recorded_is_not_granted(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    book = book_in(directory)
    _, token = book.issue(60.0, 1, ("h:1",), NOW)
    (directory / "tokens.json").unlink()
    directory.rmdir()
    assert refusal(book, token, KEYS[0]) == "tokens_unwritable"
    directory.mkdir()
    book.redeem(token.token_id, token.secret, KEYS[1], NOW)  # the failed try has not used it up
    assert refusal(book, token, KEYS[0]) == "token_used_up"


def test_expired_tokens_are_forgotten_in_the_end(tmp_path: Path) -> None:
    book = book_in(tmp_path)
    _, first = book.issue(60.0, 1, ("h:1",), NOW)
    book.issue(60.0, 1, ("h:1",), NOW + 3600)
    assert refusal(book, first, KEYS[0], NOW + 3600) == "token_expired"
    book.issue(60.0, 1, ("h:1",), NOW + 2 * 24 * 3600)
    assert refusal(book, first, KEYS[0], NOW + 2 * 24 * 3600) == "bad_token"
    assert len(json.loads((tmp_path / "tokens.json").read_text())["tokens"]) == 1


@pytest.mark.parametrize(
    ("lifetime_s", "uses", "seeds"),
    [
        (0.0, 1, ("h:1",)),
        (-1.0, 1, ("h:1",)),
        (float("nan"), 1, ("h:1",)),
        (1e12, 1, ("h:1",)),
        (60.0, 0, ("h:1",)),
        (60.0, 10_000, ("h:1",)),
        (60.0, 1, ()),
        (60.0, 1, ("h:1",) * 9),
        (60.0, 1, ("h" * 200,)),
    ],
)
def test_figures_out_of_range(tmp_path: Path, lifetime_s: float, uses: int, seeds: tuple[str, ...]) -> None:
    with pytest.raises(MeshError) as caught:
        book_in(tmp_path).issue(lifetime_s, uses, seeds, NOW)
    assert caught.value.code == "bad_token_request"
    assert not os.listdir(tmp_path)


def test_the_number_of_valid_tokens_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # 256 real ones take long on a slow disk
    book = book_in(tmp_path)
    for _ in range(TOKENS_MAX):
        book.issue(60.0, 1, ("h:1",), NOW)
    with pytest.raises(MeshError) as caught:
        book.issue(60.0, 1, ("h:1",), NOW)
    assert caught.value.code == "too_many_tokens"
    book.issue(60.0, 1, ("h:1",), NOW + 61)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"tokens": {"x": {}}}', b"\xff\xfe", b'{"format": 2}'])
def test_a_broken_book_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokens.json").write_bytes(content)
    with pytest.raises(MeshError) as caught:
        book_in(tmp_path)
    assert caught.value.code == "tokens_broken"
    assert "tokens.json" in caught.value.message
