"""Doing something for each account, so that none waits for another one's trouble."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

from tinko_pipelines.accounts import accounts_of
from tinko_pipelines.errors import InputError, TinkoError
from tinko_pipelines.one_account import OneAccount
from tinko_pipelines.parts import Parts

LEAST_SECONDS = 1.0
"""What an account gets for its work, however long the others took."""


class Counted(Protocol):
    """What is made of numbers by name, and told as such."""

    def __init__(self, **counts: int) -> None: ...

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        ...


T = TypeVar("T")
Counts = TypeVar("Counts", bound=Counted)


@dataclass(frozen=True)
class EveryAccount(Parts):
    """The accounts over the same parts."""

    @cached_property
    def accounts(self) -> tuple[OneAccount, ...]:
        """Each account, the main one first; raises SettingsError where there is no key."""
        return tuple(OneAccount(account, self) for account in accounts_of(self.settings))

    def account(self, name: str | None = None) -> OneAccount:
        """The account of that name, the main one by default; raises InputError where there is none."""
        wanted = name or self.settings.stripe_account
        for one in self.accounts:
            if one.name == wanted:
                return one
        known = ", ".join(one.name for one in self.accounts)
        raise InputError(
            f"there is no account {wanted!r} (there are: {known}): add it to TINKO_MORE_ACCOUNTS"
        )

    def each(self, work: Callable[[OneAccount], T]) -> list[T]:
        """Do it for every account. What fails for one keeps no other from its turn, and is raised in the end."""
        done, trouble = self.tried(work)
        if trouble is not None:
            raise trouble
        return done

    def tried(self, work: Callable[[OneAccount], T]) -> tuple[list[T], Exception | None]:
        """The same, and what failed as one error, for who goes on with what was done."""
        done: list[T] = []
        failed: list[tuple[str, Exception]] = []
        for one in self.accounts:
            try:
                done.append(work(one))
            except Exception as error:
                failed.append((one.name, error))
        return done, self._told(failed) if failed else None

    def _told(self, failed: Sequence[tuple[str, Exception]]) -> Exception:
        """One error for all; a bug of ours before what a person can act on, as it is."""
        bugs = [error for _, error in failed if not isinstance(error, TinkoError)]
        if bugs or len(self.accounts) == 1:
            return bugs[0] if bugs else failed[0][1]
        told = type(failed[0][1])("; ".join(f"account {name}: {error}" for name, error in failed))
        told.__cause__ = failed[0][1]
        return told

    def in_turn(self, work: Callable[[OneAccount, float], Counts], max_seconds: float | None) -> Counts:
        """Do it for every account, each in its share of the time; what they did together."""
        return summed(self.each(self.sharing(work, max_seconds or self.settings.drain_seconds)))

    def sharing(
        self, work: Callable[[OneAccount, float], T], max_seconds: float
    ) -> Callable[[OneAccount], T]:
        """The work with a time for each account: an equal part of what those before it have left."""
        until = time.monotonic() + max_seconds
        waiting = len(self.accounts)

        def take_turn(one: OneAccount) -> T:
            nonlocal waiting
            share_seconds = max(LEAST_SECONDS, (until - time.monotonic()) / waiting)
            waiting -= 1
            return work(one, share_seconds)

        return take_turn


def summed(found: Sequence[Counts]) -> Counts:
    """Counts of several accounts together."""
    totals = Counter[str]()
    for one in found:
        totals.update(one.counts())
    return type(found[0])(**totals)
