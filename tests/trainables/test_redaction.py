"""Secrets are found by the names of variables, and by what looks like one; nothing else is touched."""

from __future__ import annotations

import json

import pytest
from flowsweep.trainables.failures import classified, log_of
from flowsweep.trainables.redaction import Redactor, is_secret_name


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "PGPASSWORD", "MLFLOW_TRACKING_PASSWORD",
        "WANDB_API_KEY", "HF_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "mlflow_flask_server_secret_key",
    ],
)  # fmt: skip
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ACCESS_KEY_ID", "RAY_AUTH_TOKEN_PATH", "AWS_SHARED_CREDENTIALS_FILE", "TOKENIZERS_PARALLELISM",
        "RAY_AUTH_MODE", "PATH", "MONKEY", "PGPASSFILE", "GOOGLE_APPLICATION_CREDENTIALS_PATH",
    ],
)  # fmt: skip
def test_names_that_only_sound_like_it(name):
    assert not is_secret_name(name)


ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": 'wJalr"XUtn/FEMI+K7',
    "DATABASE_URL": "postgresql://bob:hunter2horse@db/x",
    "PIN_TOKEN": "123",
    "RAY_TLS_SERVER_KEY": "/etc/ray/tls.key",
}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('key wJalr"XUtn/FEMI+K7!', "key ***!"),
        (json.dumps({"e": 'wJalr"XUtn/FEMI+K7'}), '{"e": "***"}'),
        ("GET /?k=wJalr%22XUtn%2FFEMI%2BK7", "GET /?k=***"),
        ("password hunter2horse refused", "password *** refused"),
        ("at postgresql://ann:pw12@db:5432/x", "at postgresql://ann:***@db:5432/x"),
        ("s3://AKIA:se/cret@bucket/p", "s3://AKIA:se/cret@bucket/p"),  # no address: it has a slash too many
        ("s3://AKIA:secret@bucket/p", "s3://AKIA:***@bucket/p"),
        ("https://ghp_abc@github.com/x", "https://***@github.com/x"),
        ("https://h/o?X-Amz-Signature=ab12&b=1", "https://h/o?X-Amz-Signature=***&b=1"),
        ("Authorization: Bearer abcdefgh123", "Authorization: Bearer ***"),
        ("postgresql://ann@db/x", "postgresql://ann@db/x"),
        ("step 123 of /etc/ray/tls.key", "step 123 of /etc/ray/tls.key"),
        ("a@b: http://h:80/p, mail c@d", "a@b: http://h:80/p, mail c@d"),
    ],
)
def test_text_without_secrets(text, clean):
    assert Redactor(ENVIRONMENT).text(text) == clean


def test_values_keep_their_form():
    value = {"hunter2horse": [1.5, None, True, ("hunter2horse",)], "n": 123}
    assert Redactor(ENVIRONMENT).value(value) == {"***": [1.5, None, True, ["***"]], "n": 123}


def test_rays_token_in_a_file_is_known(tmp_path):
    (tmp_path / "token").write_text("of-the-cluster\n")
    known = Redactor({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})
    assert known.text("got of-the-cluster") == "got ***"


def test_a_trials_failure_and_its_traceback_hold_no_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("MY_SERVICE_PASSWORD", "correct-horse")
    error = RuntimeError("cannot log in with correct-horse")
    assert classified(error).reason == "RuntimeError: cannot log in with ***"
    log_of(error, tmp_path)
    assert "correct-horse" not in (tmp_path / "traceback.txt").read_text()
