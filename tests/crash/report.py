"""A campaign's figures: as JSON, as lines for a terminal, as tables for a page."""

import statistics
from collections import Counter, defaultdict
from typing import Any

from tests.crash.points import GROUPS, group

Row = dict[str, Any]


def _quantile(numbers: list[float], share: float) -> float:
    if not numbers:
        return 0.0
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(seed: int, results: list[Row], known: set[str]) -> Row:
    """Every figure of the trials so far."""
    killed: Counter[str] = Counter()
    for result in results:
        killed.update(result.get("kills", ()))
    unknown = [seconds for result in results for seconds in result.get("unknown_seconds", ())]
    firsts = [result for result in results if result["world"] == result["number"]]
    once = [seconds for result in firsts for seconds in result.get("unknown_seconds", ())]
    recoveries = [seconds for result in results for seconds in result.get("recoveries", ())]
    groups: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for result in results:
        counted = Counter(
            trials=1,
            cases=result.get("cases", 0),
            calls=result.get("calls", 0),
            kills=len(result.get("kills", ())),
            violations=len(result["violations"]),
        )
        for name in ("mode", "database", "workers", "lake"):
            groups[name][str(result.get(name))].update(counted)
        for kind in result.get("fault_kinds", ()) or ("none",):
            groups["fault"][kind].update(counted)

    def total(name: str) -> int:
        return sum(int(result.get(name, 0)) for result in results)

    cpu = [result["cpu_seconds"] for result in results]
    costs = {
        f"{name} {value}": _cost([one["cpu_seconds"] for one in results if one.get(name) == value])
        for name in ("database", "workers", "lake")
        for value in sorted({one[name] for one in results if name in one})
    }
    return {
        "seed": seed,
        "trials": len(results),
        "cases": total("cases"),
        "calls": total("calls"),
        "charges": total("charges"),
        "mails": total("mails"),
        "kills": sum(killed.values()),
        "kill_points": len(killed),
        "kill_points_known": len(known),
        "database_kills": total("database_kills"),
        "double": total("double"),
        "after": total("after"),
        "lost": total("lost"),
        "mails_twice": total("mails_twice"),
        "violations": sum(len(result["violations"]) for result in results),
        "failing_trials": sorted(result["number"] for result in results if result["violations"]),
        "checked_by_invariants": sum(bool(result.get("checked")) for result in results),
        "unknown": {
            "count": len(unknown),
            "p50_seconds": _quantile(unknown, 0.5),
            "p99_seconds": _quantile(unknown, 0.99),
            "max_seconds": max(unknown, default=0.0),
            # A world that is visited again for its kill points has the same trouble each time.
            "each_world_once": {"count": len(once), "p99_seconds": _quantile(once, 0.99)},
        },
        "recovery": {
            "count": len(recoveries),
            "p50_seconds": _quantile(recoveries, 0.5),
            "max_seconds": max(recoveries, default=0.0),
        },
        "worlds": len({result["world"] for result in results}),
        "parts": _parts(results, known),
        "cpu_seconds": {"all": _cost(cpu), **costs},
        "cpu_seconds_per_trial": sum(cpu) / len(cpu) if cpu else 0.0,
        "groups": {
            name: {key: dict(one) for key, one in sorted(found.items())} for name, found in groups.items()
        },
    }


def _cost(seconds: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(seconds), "median": statistics.median(seconds)} if seconds else {}


def _parts(results: list[Row], known: set[str]) -> dict[str, dict[str, int]]:
    """By part of the work: kill points known and hit, kills there, and trials that had some."""
    found: dict[str, Counter[str]] = {part: Counter() for part in GROUPS}
    for name in known:
        found[group(name)]["known"] += 1
    for name in {name for result in results for name in result.get("kills", ())}:
        found[group(name)]["hit"] += 1
    for result in results:
        parts = Counter(map(group, result.get("kills", ())))
        for part, kills in parts.items():
            found[part].update(kills=kills, trials=1)
    return {
        part: {key: one[key] for key in ("known", "hit", "kills", "trials")} for part, one in found.items()
    }


def bound(count: int) -> str:
    """With nothing found in `count`, the share is below this with 95 % confidence: the rule of three."""
    return f"{3 / count:.2g}" if count else "-"


def lines(figures: Row) -> str:
    """For a terminal; the last line is the campaign in one."""
    told = []
    for name, found in figures["groups"].items():
        parts = [f"{key} {one['trials']}/{one['kills']}/{one['violations']}" for key, one in found.items()]
        told.append(f"by {name} (trials/kills/violations): " + ", ".join(parts))
    parts = figures["parts"].items()
    told.append(
        f"kill points hit: {figures['kill_points']} of {figures['kill_points_known']} known; hit/known, kills in trials: "
        + ", ".join(
            f"{part} {one['hit']}/{one['known']}, {one['kills']} in {one['trials']}" for part, one in parts
        )
    )
    costs = figures["cpu_seconds"].items()
    told.append(
        "CPU-seconds a trial, mean/median: "
        + ", ".join(f"{name} {one['mean']:.2f}/{one['median']:.2f}" for name, one in costs)
    )
    unknown, recovery = figures["unknown"], figures["recovery"]
    told += [
        f"{figures['calls']} calls, {figures['charges']} charges, {figures['mails']} mails,"
        f" {figures['kills']} kills of processes, {figures['database_kills']} of PostgreSQL,"
        f" {figures['checked_by_invariants']} trials held to every invariant",
        f"unknown outcomes: {unknown['count']}, settled after p50 {unknown['p50_seconds']:.0f} s,"
        f" p99 {unknown['p99_seconds']:.0f} s, at most {unknown['max_seconds']:.0f} s of sandbox time;"
        f" each world counted once: {unknown['each_world_once']['count']}, p99 {unknown['each_world_once']['p99_seconds']:.0f} s",
        f"work went on after a kill within {recovery['max_seconds']:.0f} s ({recovery['count']} recoveries)",
        f"charges after a known payment or cancellation: {figures['after']};"
        f" violations of any kind: {figures['violations']}; {figures['cpu_seconds_per_trial']:.2f} CPU-seconds a trial",
        f"{figures['trials']} trials, {figures['cases']} cases, {figures['kill_points']} kill points:"
        f" {figures['double']} double, {figures['lost']} lost, {figures['mails_twice']} duplicate mails",
    ]
    return "\n".join(told)


def markdown(figures: Row) -> str:
    """For `docs/reliability.md`."""
    unknown, recovery = figures["unknown"], figures["recovery"]
    rows = [
        ("seed", figures["seed"]),
        ("trials (worlds)", f"{figures['trials']} ({figures['worlds']})"),
        ("cases", figures["cases"]),
        ("calls to charge", figures["calls"]),
        ("charges made", figures["charges"]),
        ("mails taken", figures["mails"]),
        ("processes killed", figures["kills"]),
        ("distinct kill points hit (known)", f"{figures['kill_points']} ({figures['kill_points_known']})"),
        ("PostgreSQL killed", figures["database_kills"]),
        ("double charges", figures["double"]),
        ("charges after a known payment or cancellation", figures["after"]),
        ("lost cases", figures["lost"]),
        ("duplicate mails", figures["mails_twice"]),
        ("violations of any kind", figures["violations"]),
        (
            "unknown outcomes, p50 / p99 / max seconds",
            f"{unknown['count']}, {unknown['p50_seconds']:.0f} / {unknown['p99_seconds']:.0f} / {unknown['max_seconds']:.0f}",
        ),
        (
            "the same, each world counted once: p99 seconds",
            f"{unknown['each_world_once']['count']}, {unknown['each_world_once']['p99_seconds']:.0f}",
        ),
        ("work goes on after a kill within, seconds", f"{recovery['max_seconds']:.0f}"),
        ("95 % bound on the share of cases, if nothing was found", bound(figures["cases"])),
        ("95 % bound on the share of trials, if nothing was found", bound(figures["trials"])),
    ]
    told = ["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    for name, found in figures["groups"].items():
        told += ["", f"| {name} | trials | cases | calls | kills | violations |", "|---|---|---|---|---|---|"]
        told += [
            f"| {key} | {one['trials']} | {one['cases']} | {one['calls']} | {one['kills']} | {one['violations']} |"
            for key, one in found.items()
        ]
    return "\n".join(told)
