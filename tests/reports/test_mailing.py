"""The weekly mail: who gets it, once a week, at most twice after a crash, and what a mail program shows of it."""

import email
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from dagster import RunRequest, SkipReason, build_schedule_context, instance_for_test
from pydantic import SecretStr

from resources import TinkoResource
from sensors.schedules import weekly_report
from tests.outreach.post import Sink, served
from tests.ports import free_port
from tinko_pipelines.errors import MailError, SettingsError, StoreError
from tinko_pipelines.outreach.transport import FileTransport, Mail, RefusedError, Transport, TryLaterError
from tinko_pipelines.reports.digest import Digest, Share
from tinko_pipelines.reports.mailing import Mailed, mail_report, recipients, send_report, waiting, week_of
from tinko_pipelines.settings import Settings, load_settings

MONDAY = datetime(2026, 10, 12, 6, tzinfo=UTC)
PAGE = "<!doctype html><title>Ä</title>".encode() + b"<p>x</p>" * 2_000
HOSTILE = "<img src=x>\r\nBcc: x@y.z"
TOLD = Digest(
    as_of=MONDAY,
    headline="41.4% of failed payments were recovered: 104 of 251; 90 are still open.",
    sentences=(f"USD: 39.5% recovered. {HOSTILE}",),
    compared="What failed in August 2026, the last mature month, beside July 2026.",
    changes=(("Recovery rate", "56.1% (37 of 66)", "+37.2 points", "18.9% (10 of 53)"),),
    months=(Share("September 2026", 44, 70, 44 / 70, "still maturing"),),
    categories=(),
)


class Post:
    """A transport that keeps what it was given, and does what it is told to at each mail."""

    def __init__(self, *answers: Exception | None) -> None:
        self.sent: list[Mail] = []
        self._answers = list(answers)

    def send(self, mail: Mail) -> None:
        answer = self._answers.pop(0) if self._answers else None
        if not isinstance(answer, TryLaterError | RefusedError | MailError):
            self.sent.append(mail)
        if answer is not None:
            raise answer

    def ping(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        state=tmp_path,
        stripe_api_base="http://127.0.0.1:1",
        report_recipients="Ada <ada@example.org>, bob@example.org, ada@example.org",
        mail_from="Billing <billing@acme.test>",
        merchant_name="Ünlimited",
    )


def mailed(settings: Settings, transport: Transport, now: datetime = MONDAY) -> Mailed:
    return mail_report(settings, transport, TOLD, PAGE, now)


def parsed(mail: Mail) -> EmailMessage:
    return email.message_from_bytes(mail.content, EmailMessage, policy=policy.default)


def test_each_gets_it_once_a_week(settings: Settings) -> None:
    post = Post()
    assert waiting(settings, MONDAY) == 2
    assert mailed(settings, post) == Mailed("2026-W42", sent=2)
    assert waiting(settings, MONDAY + timedelta(days=6)) == 0
    assert mailed(settings, post, MONDAY + timedelta(days=6)) == Mailed("2026-W42", had_it=2)
    assert waiting(settings, MONDAY + timedelta(days=7)) == 2
    assert mailed(settings, post, MONDAY + timedelta(days=7)) == Mailed("2026-W43", sent=2)
    assert [mail.recipient for mail in post.sent] == ["ada@example.org", "bob@example.org"] * 2
    assert len({mail.message_id for mail in post.sent}) == 4
    assert "example.org" not in (settings.state / "report-mailed.json").read_text()


def test_who_is_named_later_gets_it_later(settings: Settings) -> None:
    post = Post()
    mailed(settings.model_copy(update={"report_recipients": "ada@example.org"}), post)
    more = settings.model_copy(update={"report_recipients": "ada@example.org, cy@example.org"})
    assert mailed(more, post) == Mailed("2026-W42", sent=1, had_it=1)


@pytest.mark.parametrize(
    ("answer", "first", "second", "sent"),
    [
        (TryLaterError("later"), Mailed("2026-W42", later=1), Mailed("2026-W42", sent=1), 1),
        (RefusedError("no"), Mailed("2026-W42", refused=1), Mailed("2026-W42", had_it=1), 0),
        (TimeoutError(), Mailed("2026-W42", in_doubt=1), Mailed("2026-W42", sent=1), 2),
    ],
    ids=["later", "refused", "in doubt"],
)
def test_what_did_not_go_out_goes_out_later(
    settings: Settings, answer: Exception, first: Mailed, second: Mailed, sent: int
) -> None:
    settings = settings.model_copy(update={"report_recipients": "ada@example.org"})
    post = Post(answer)
    assert mailed(settings, post) == first
    assert mailed(settings, post) == second
    assert len(post.sent) == sent
    assert len({mail.message_id for mail in post.sent}) <= 1


def test_after_two_crashes_it_may_have_come_and_goes_out_no_more(settings: Settings) -> None:
    settings = settings.model_copy(update={"report_recipients": "ada@example.org"})
    for crash in (KeyboardInterrupt(), SystemExit()):
        post = Post(crash)  # type: ignore[arg-type]
        with pytest.raises(type(crash)):
            mailed(settings, post)
        assert len(post.sent) == 1
    post = Post()
    assert mailed(settings, post) == Mailed("2026-W42", in_doubt=1)
    assert post.sent == []
    assert waiting(settings, MONDAY) == 0


def test_a_server_that_is_down_takes_nothing_from_anybody(settings: Settings) -> None:
    for _ in range(3):
        with pytest.raises(MailError):
            mailed(settings, Post(MailError("down")))
    assert waiting(settings, MONDAY) == len(recipients(settings))
    assert mailed(settings, Post()).sent == len(recipients(settings))


def test_the_mail_has_a_summary_and_the_report(settings: Settings) -> None:
    post = Post()
    mailed(settings, post)
    mail = parsed(post.sent[0])
    assert post.sent[0].content.isascii()
    assert max(map(len, post.sent[0].content.splitlines())) < 998
    assert str(mail["Subject"]).startswith(
        "Payment recovery, Ünlimited: 41.4% of failed payments were recovered"
    )
    assert (mail["From"], mail["To"]) == ("Billing <billing@acme.test>", "Ada <ada@example.org>")
    assert mail["Message-ID"] == f"<{post.sent[0].message_id}@acme.test>"
    assert mail["Bcc"] is None
    plain, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None
    assert html is not None
    text = plain.get_content()
    assert "Recovery rate: 56.1% (37 of 66), +37.2 points from 18.9% (10 of 53)" in text
    assert "September 2026: 62.9%, 44 of 70 (still maturing)" in text
    assert "&lt;img src=x&gt;" in html.get_content()
    assert "<img" not in html.get_content()
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "recovery-2026-W42.html"
    assert attached.get_content_type() == "text/html"
    assert attached.get_payload(decode=True) == PAGE


def test_a_real_server_takes_it(settings: Settings) -> None:
    sink = Sink()
    with served(sink, free_port()) as url:
        smtp = {"mail_transport": "smtp", "smtp_url": SecretStr(url), "mailing": "on"}
        over = settings.model_copy(update=smtp)
        assert send_report(over, TOLD, PAGE, MONDAY).sent == len(recipients(settings))
    (attached,) = sink.taken[0].iter_attachments()
    assert attached.get_payload(decode=True) == PAGE


def test_files_are_mails_too(settings: Settings) -> None:
    mailed(settings, FileTransport(settings.outbox_dir))
    assert len(list(settings.outbox_dir.glob("report-2026-W42-*.eml"))) == len(recipients(settings))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"report_recipients": ""}, "set TINKO_REPORT_RECIPIENTS"),
        ({"report_recipients": "nobody"}, "is no e-mail address"),
        ({"report_recipients": ",".join(f"a{n}@b.c" for n in range(51))}, "at most 50"),
        ({"mailing": "dry_run"}, "TINKO_MAILING=on makes it real"),
        ({"mailing": "on", "mail_transport": "postmark"}, "by which no attachments are sent here"),
    ],
)
def test_what_cannot_be_sent_is_one_sentence(settings: Settings, changes: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        send_report(settings.model_copy(update=changes), TOLD, PAGE, MONDAY)


def test_marks_that_cannot_be_read_stop_it(settings: Settings) -> None:
    (settings.state / "report-mailed.json").write_text("{")
    with pytest.raises(StoreError, match="delete it to send it again"):
        mailed(settings, Post())


def test_two_do_not_mail_at_once(settings: Settings) -> None:
    class Nested(Post):
        def send(self, mail: Mail) -> None:
            with pytest.raises(StoreError, match="by another process"):
                mailed(settings, Post())
            super().send(mail)

    post = Nested()
    assert mailed(settings, post).sent == len(recipients(settings))


def test_weeks_are_those_of_iso_in_utc() -> None:
    assert week_of(datetime(2027, 1, 3, 23, 59, tzinfo=UTC)) == "2026-W53"
    assert week_of(datetime(2027, 1, 4, 0, 0, tzinfo=UTC)) == "2027-W01"


def test_it_waits_for_its_day(settings: Settings) -> None:
    thursday = settings.model_copy(update={"report_day": "thu"})
    assert [bool(waiting(thursday, MONDAY + timedelta(days=n))) for n in range(7)] == [False] * 3 + [True] * 4


def test_a_schedule_asks_each_hour_until_all_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKO_STATE", str(tmp_path))
    monkeypatch.setenv("TINKO_STRIPE_API_BASE", "http://127.0.0.1:1")
    monkeypatch.setenv("TINKO_REPORT_DAY", "mon")
    tinko = TinkoResource(state=str(tmp_path))
    (tmp_path / "dagster").mkdir()
    with instance_for_test(temp_dir=str(tmp_path / "dagster")) as instance:

        def tick() -> str:
            with build_schedule_context(instance=instance, resources={"tinko": tinko}) as context:
                found = weekly_report(context)
            assert isinstance(found, RunRequest | SkipReason)
            return found.skip_message or "" if isinstance(found, SkipReason) else "run"

        assert tick() == "nobody waits for the report"
        monkeypatch.setenv("TINKO_REPORT_RECIPIENTS", "ada@example.org")
        assert tick() == "1 wait for the report, but nothing was published yet"
        (tmp_path / "recovery.duckdb").touch()
        assert tick() == "run"
        monkeypatch.setenv("TINKO_MAILING", "dry_run")
        assert tick() == "1 wait for the report, but this is a dry run"
