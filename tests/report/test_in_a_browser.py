"""The pages in a browser without a window: nothing is wider than the screen, and the console stays empty."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from synthetic_run import write_run

from expunge.report.comparison_page import write_comparison
from expunge.report.continual import write_continual_report
from expunge.report.page import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
WIDTHS = (390, 1280)
REQUESTS = Path(__file__).parents[1] / "folder" / "earlier_version" / "requests_finished"

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")

#: Shows every page at every width, opens what is folded, and writes how wide each is.
MEASURE = """
window.onload = () => {  // when all pages are there
  const measured = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, screen = frame.contentWindow.innerWidth;
    for (const fold of page.querySelectorAll("details")) fold.open = true;
    const boxes = query => [...page.querySelectorAll(query)].map(part => part.getBoundingClientRect());
    measured[frame.id] = {
      width: page.scrollingElement.scrollWidth, screen,
      beyond: boxes("td, th, svg, p, li, code").filter(box => box.right > screen).length,
      smallest: Math.min(...boxes("svg text").map(box => box.height), 99),
    };
  }
  document.querySelector("pre").textContent = JSON.stringify(measured);
};
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, float]], str]:
    """What the browser measured, by page and width, and what it wrote to its log."""
    folder = tmp_path_factory.mktemp("pages")
    plain = write_run(folder / "plain")
    texts = write_run(folder / "texts", n=8, with_reference=False)
    long = write_run(folder / ("a-name-without-a-place-to-break-it" * 3))
    requests = Path(shutil.copytree(REQUESTS, folder / "requests"))
    bad = folder / "bad.html"
    bad.write_text(
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'"><body><p>'
        "<script>1</script>" + "x" * 2000
    )
    pages = {
        "run": write_report(plain),
        "texts": write_report(texts, show_text=True),
        "comparison": write_comparison([plain, texts, long], folder / "comparison.html"),
        "requests": write_continual_report(requests),
        "bad": bad,
    }
    frames = "".join(
        f'<iframe id="{name}-{width}" src="{page.as_uri()}" style="width: {width}px; height: 800px"></iframe>'
        for name, page in pages.items()
        for width in WIDTHS
    )
    wrapper = folder / "wrapper.html"
    wrapper.write_text(f"<body><pre>{{}}</pre>{frames}<script>{MEASURE}</script>")
    command = [
        str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=10000",
        "--dump-dom", wrapper.as_uri(),
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search("<pre>(.*?)</pre>", ended.stdout, re.DOTALL)
    assert found is not None
    measured = json.loads(html.unescape(found[1]))
    assert len(measured) == len(pages) * len(WIDTHS), ended.stderr
    return measured, ended.stderr


def test_nothing_is_wider_than_the_screen(seen: tuple[dict[str, dict[str, float]], str]) -> None:
    wide = {name for name, page in seen[0].items() if page["width"] > page["screen"] or page["beyond"]}
    assert wide == {"bad-390", "bad-1280"}


def test_letters_in_pictures_can_be_read_on_a_phone(seen: tuple[dict[str, dict[str, float]], str]) -> None:
    """The boxes of the smallest, 8 points in the figure, are some 9 pixels high."""
    assert min(page["smallest"] for page in seen[0].values()) >= 8


def test_the_console_stays_empty(seen: tuple[dict[str, dict[str, float]], str]) -> None:
    told = [line for line in seen[1].splitlines() if "CONSOLE" in line]
    assert told  # the page that is bad on purpose
    assert [line for line in told if "bad.html" not in line] == []
