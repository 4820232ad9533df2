"""What one mail asks of the database: few statements, and one commit where another mail comes after it."""

from pathlib import Path

from sqlalchemy import event

from tests.outreach.post import many, send
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.transport import FileTransport

MAILS = 40
STATEMENTS_MOST = 6.5
"""Of one mail: its claim and what it says; the settlement of the one before and its event; the begin on SQLite."""
COMMITS_MOST = 1.9


def test_a_mail_takes_few_statements_and_hardly_more_than_one_commit(ledger: Ledger, tmp_path: Path) -> None:
    stripe, statements, commits = many(ledger, MAILS), list[str](), list[int]()
    event.listen(ledger.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    event.listen(ledger.engine, "commit", lambda _connection: commits.append(1))
    assert send(ledger, stripe, FileTransport(tmp_path), workers=4).sent == MAILS
    writes = [one for one in statements if not one.startswith("SELECT")]
    assert len(writes) / MAILS <= STATEMENTS_MOST, statements
    assert len(commits) / MAILS <= COMMITS_MOST, len(commits)
