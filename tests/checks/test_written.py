"""No secret may stand in a log or a mail either; each is named by its file, and how it begins."""

import os
from email.message import EmailMessage
from pathlib import Path

import pytest

from tinko_pipelines.app import App
from tinko_pipelines.checks import written
from tinko_pipelines.checks.written import Written, secrets_below
from tinko_pipelines.settings import load_settings

KEY = "sk_" + "live_" + "0123456789ab"
CARD = "4242424242424242"


def write(state: Path, name: str, content: bytes | str) -> Path:
    path = state / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def mail(text: str) -> bytes:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "Shop <shop@example.com>", "ada@example.com", "Ünpaid"
    made.set_content(text, cte="base64")
    made.add_alternative(f"<p>{'ä' * 60} {text}</p>", subtype="html", cte="quoted-printable")
    return made.as_bytes()


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("dagster/logs/daemon.log", f"using {KEY} now", "key"),
        ("dagster/storage/run/compute_logs/x.err", "whsec_" + "0123456789", "key"),
        ("dbt/logs/dbt.log", "postgresql://me:hunter22@db/x", "password"),
        ("sandbox/sandbox.log", f"card {CARD} refused", "card number"),
        ("dagster/storage/run/x.out", "mail to ada@example.com", "e-mail address"),
    ],
)
def test_each_kind_is_found_in_a_log(tmp_path: Path, name: str, text: str, kind: str) -> None:
    write(tmp_path, name, f"one line\n{text}\nanother\n")
    (found,) = secrets_below(tmp_path)
    assert (found.path, found.kind) == (name, kind)
    assert len(found.begins) == 7


def test_a_mail_is_read_as_its_reader_sees_it(tmp_path: Path) -> None:
    write(tmp_path, "outbox/a.eml", mail("Please pay, write to shop@example.com, order 4242424242424243."))
    assert secrets_below(tmp_path) == []
    write(tmp_path, "outbox/b.eml", mail(f"your card {CARD}"))
    write(tmp_path, "outbox/c.eml", mail(f"our key {KEY}"))
    found = secrets_below(tmp_path)
    assert {(one.path, one.kind) for one in found} == {
        ("outbox/b.eml", "card number"),
        ("outbox/c.eml", "key"),
    }
    assert len(found) == 4, "in both the text and the HTML"


def test_what_is_harmless_is_left_alone(tmp_path: Path) -> None:
    write(
        tmp_path,
        "dagster/logs/x.log",
        "postgresql://me:***@127.0.0.1/x postgresql://tinko@127.0.0.1:5432/x key sk_test_tinko_sandbox pi_3Abc"
        " 1789000000000000 4242424242424243 0.4242424242424242",
    )
    write(tmp_path, "lake/raw/x.log", KEY)
    write(tmp_path, "notes.txt", KEY)
    assert secrets_below(tmp_path) == []


def test_no_more_is_read_than_the_bounds_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "FILE_BYTES_MAX", 100)
    monkeypatch.setattr(written, "ALL_BYTES_MAX", 150)
    for number in range(3):
        path = write(tmp_path, f"{number}.log", f"{KEY} too old\n{'.' * 100}\n{KEY}\n")
        os.utime(path, (number, number))
    assert [one.path for one in secrets_below(tmp_path)] == ["2.log", "1.log"], "the ends of the newest"
    write(tmp_path, "many.log", f"{KEY} {KEY} ")
    monkeypatch.setattr(written, "FOUND_MAX", 1)
    assert secrets_below(tmp_path) == [Written("many.log", "key", KEY[:6] + "…")]


def test_a_check_of_the_application_looks_there(tmp_path: Path) -> None:
    app = App(load_settings(state=tmp_path))
    assert [result.name for result in app.check() if result.rows] == []
    write(tmp_path, "dagster/logs/daemon.log", KEY)
    (broken,) = [result for result in app.check() if result.rows]
    assert (broken.number, broken.rows) == (23, 1)
    assert broken.sample == [{"place": "dagster/logs/daemon.log", "what": "key", "begins": KEY[:6] + "…"}]
    app.ledger.close()
