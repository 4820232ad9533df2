"""The gallery is whole, needs no network, and its mails can be read in a browser: narrow, wide, light and dark."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.outreach import browser
from tests.test_cli import tinko
from tinko_pipelines.declines.records import CATEGORIES
from tinko_pipelines.outreach import languages
from tinko_pipelines.outreach.preview import build
from tinko_pipelines.outreach.sequences import default
from tinko_pipelines.settings import Settings

needs_browser = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium is installed")
GROUND = {"light": (0xF3, 0xF4, 0xF6), "dark": (0x12, 0x16, 0x1B)}
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenfabrikationsgesellschaft"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    settings = Settings(merchant_name="Kröger & Söhne", merchant_address="Hafenstraße 1, 20457 Hamburg")
    made = build(folder, settings, default())
    assert made.mails == 7 * 8
    return folder


def test_every_template_category_and_language_is_shown_and_every_link_leads_somewhere(gallery: Path) -> None:
    index = (gallery / "index.html").read_text()
    for category in CATEGORIES:
        assert index.count(f"<td>{category}</td>") >= len(languages.languages())
    links = set(re.findall(r'href="([^"]+)"', index))
    assert len(links) == 7 * 8
    for link in links:
        page = gallery / link
        inside = re.findall(r'(?:href|src)="([^"]+)"', page.read_text())
        assert len(inside) == 5
        assert all((page.parent / one).exists() for one in inside)
    assert index.count("machine-drafted") == 5


def test_no_page_names_anything_outside_but_the_customers_link(gallery: Path) -> None:
    for page in gallery.rglob("*.html"):
        text = page.read_text()
        assert "<script" not in text
        outside = set(re.findall(r"https?://[^\s\"'<]+", text))
        assert outside <= {"https://invoice.example.com/i/preview"}, page


def test_the_command_writes_it_without_a_key_or_a_ledger(tmp_path: Path) -> None:
    done = tinko(tmp_path / "state", "mail", "preview", "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert (told["mails"], told["machine_drafted"], told["missing"]) == (
        56,
        ["es", "fr", "hi", "pt", "ta"],
        {},
    )
    assert Path(told["index"]).exists()
    assert not (tmp_path / "state").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done: subprocess.CompletedProcess[str] = tinko(
        tmp_path / "state", "mail", "preview", "--out", str(tmp_path / "out")
    )
    assert done.returncode == 2
    assert "the gallery cannot be written into" in done.stderr
    assert "Traceback" not in done.stderr


def pages(gallery: Path) -> dict[str, tuple[str, int]]:
    return {
        f"{path.parent.name} {path.stem} {width}": (path.read_text(), width)
        for path in sorted(gallery.glob("??/*.*.html"))
        if not path.stem.endswith("shown")
        for width in (320, 680)
    }


@needs_browser
@pytest.mark.slow
def test_mails_fit_a_small_screen_can_be_read_and_ask_the_network_for_nothing(
    gallery: Path, tmp_path: Path
) -> None:
    found = browser.look(pages(gallery), tmp_path)
    assert len(found) == 56 * 2 * 2
    for name, seen in found.items():
        assert seen.width in (320, 680), name
        assert (seen.scroll, seen.right <= seen.width) == (seen.width, True), name
        assert len(seen.texts) >= 8, name
        assert min(text["size"] for text in seen.texts) >= 13, name
        worst = min(seen.texts, key=lambda text: text["ratio"])
        assert worst["ratio"] >= 4.5, (name, worst)
        assert seen.asked == [], name
        assert tuple(seen.ground) == GROUND[name.split(".")[1].split()[0]], name


@needs_browser
@pytest.mark.slow
def test_the_browser_sees_what_is_wrong(gallery: Path, tmp_path: Path) -> None:
    """What the test above asks can be answered with no."""
    mail = (gallery / "en" / "details.light.html").read_text()
    wrong = {
        "wide": (
            mail.replace('<h1 class="heading" style="', '<h1 class="heading" style="width: 400px;'),
            320,
        ),
        "grey": (mail.replace("color: #1f2933", "color: #c9ced6"), 680),
        "asks": (mail.replace("</h1>", '</h1><img src="https://tracker.test/x.gif" alt="">'), 680),
    }
    found = browser.look(wrong, tmp_path)
    assert found["wide"].right > 320
    assert min(text["ratio"] for text in found["grey"].texts) < 2
    assert found["asks"].asked == ["https://tracker.test/x.gif"]


@needs_browser
@pytest.mark.slow
def test_long_words_of_a_merchants_and_a_customers_break(tmp_path: Path) -> None:
    settings = Settings(merchant_name=LONG, merchant_address=LONG, support_email=f"{LONG[:60]}@example.com")
    build(tmp_path / "out", settings, default())
    page = (tmp_path / "out" / "de" / "last_notice.dark.html").read_text()
    (seen,) = browser.look({"long": (page, 320)}, tmp_path).values()
    assert (seen.scroll, seen.right <= 320) == (320, True)


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("shade", GROUND)
def test_a_picture_shows_the_page_in_its_shade(gallery: Path, tmp_path: Path, shade: str) -> None:
    target = tmp_path / f"{shade}.png"
    browser.picture(gallery / "de" / f"details.{shade}.html", 680, 760, target)
    assert browser.corner(target) == GROUND[shade]
    assert target.stat().st_size > 10_000
