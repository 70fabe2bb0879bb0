"""Keys and passwords are found by their form, code is left as it is, and hostile texts take no time."""

from __future__ import annotations

import time

import pytest

from holdfast.core.key_patterns import mask_keys_in, mask_keys_in_words

# Put together here, so that no scanner takes them for real ones.
_KEYS = [
    "AKIA" + "ABCDEFGH12345678",
    "gh" + "p_" + "a1B2" * 9,
    "github" + "_pat_" + "a1B2_" * 9,
    "gl" + "pat-" + "a1B2" * 5,
    "s" + "k-ant-" + "a1B2" * 9,
    "h" + "f_" + "a1B2" * 8,
    "xo" + "xb-" + "1234567890-abc",
    "AI" + "za" + "a1B2" * 9,
    "ey" + "JhbGciOiJI." + "ey" + "JzdWIiOiIx" + ".abc_-",
]


@pytest.mark.parametrize("key", _KEYS)
def test_keys_are_masked_wherever_they_stand(key: str) -> None:
    masked, count = mask_keys_in(f'+client = Client("{key}")  # {key}\n')
    assert key not in masked
    assert count == 2
    assert masked.startswith('+client = Client("****")')


@pytest.mark.parametrize(
    "line",
    [
        '+password = "hunter22"',
        "+    db_password='hunter22',",
        '+{"token": "hunter22"}',
        '+api_key: str = "hunter22"',
        '-SECRET = b"hunter22"',
        "+AWS_SECRET_ACCESS_KEY=hunter22",
        " export HF_TOKEN=hunter22",
        "+  password: hunter22",
        "+client-secret: hunter22",
        "-----BEGIN RSA PRIVATE KEY-----\n+hunter22\n+more\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nhunter22",  # cut in the middle
    ],
)
def test_what_stands_beside_a_telling_name_is_masked(line: str) -> None:
    masked, count = mask_keys_in(f"+first\n{line}\n+last\n")
    assert "hunter22" not in masked
    assert count == 1
    assert masked.startswith("+first\n")


@pytest.mark.parametrize(
    "line",
    [
        "+token = tokenizer.next()",
        "+def login(password: str) -> None:",
        "+    password: str",
        "+    secret: SecretStr | None = None",
        "+max_tokens=get_limit(model)",
        "+learning_rate: 0.001",
        "+pad_token = ids[0]",
        "+task-force = 1",
        '+label = "a secret garden"',
        "+risk-adjusted-returns",
    ],
)
def test_code_is_left_as_it_is(line: str) -> None:
    assert mask_keys_in(f"{line}\n") == (f"{line}\n", 0)


@pytest.mark.parametrize("key", _KEYS)
@pytest.mark.parametrize(
    "form",
    [
        "it raised ValueError: password={} and more",
        "token={}",
        "token: {}",
        "db_password: '{}'",
        'he wrote {{"api_key":"{}"}}',
        "aws_secret_access_key = {}",
        "fetched from https://ada:{}@example.com/x",
        "see https://example.com/?token={}",
        "Authorization: Basic {}",
        "sent with Bearer {}",
        "for {} only",
    ],
)
def test_what_people_say_keeps_no_key(key: str, form: str) -> None:
    assert key not in mask_keys_in_words(form.format(key))
    if form != "for {} only" and "Bearer" not in form:
        assert "hunter2" not in mask_keys_in_words(form.format("hunter2"))


@pytest.mark.parametrize(
    "text",
    [
        "better on last season: +0.5 % auc",
        "test/auc 0.71 >= 0.65, tokens: 512",
        "at loss_per_token=0.51 now",
        "the tokenizer: bert",
        "callable checks:gate",
        "s3://bucket/models/m-1 at 12:30",
        "1-57,60",
    ],
)
def test_what_people_say_is_left_as_it_is(text: str) -> None:
    assert mask_keys_in_words(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        "password",
        "a" * 50 + "_",
        " ",
        "eyJ" + "a" * 40,
        "-----BEGIN PRIVATE KEY-----",
        "token: ",
        "token:",
        "bearer ",
        'secret="',
        "A" * 99 + "=",
    ],
)
def test_a_hostile_text_takes_no_longer_than_its_length(piece: str) -> None:
    text = piece * (300_000 // len(piece))
    started = time.perf_counter()
    mask_keys_in(text)
    mask_keys_in_words(text)
    assert time.perf_counter() - started < 5.0
