"""A real browser for the tests of the page, and what no page may do while they look."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from visum.workflow.outcome import Run

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for this module alone: while it runs, no test of this process may start an asyncio loop."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    playwright.expect.set_options(timeout=30_000)  # on a busy machine
    with playwright.sync_playwright() as started:
        if path is None and not Path(started.chromium.executable_path).exists():
            pytest.skip("no browser: neither a chromium on the path nor playwright's (playwright install chromium)")
        chromium = started.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def origin(run: Run) -> Iterator[str]:
    """Address of a real server that knows digits."""
    command = [sys.executable, "-m", "visum", "serve", str(run.bundle), "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        told = ""
        for line in server.stdout:
            told += line
            if found := re.search(r" at (http://\S+)", line):
                break
        else:
            pytest.fail(f"the server does not start: {told}")
        threading.Thread(target=server.stdout.read, daemon=True).start()  # or its log would fill the pipe
        yield found[1]
        server.terminate()


class Watched:
    """A page and everything that it must not do."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.faults: list[str] = []
        self.origin = origin
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective, e.blockedURI))"
        )
        self.page: Page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.faults.append(said.text))
        self.page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        self.page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((f"{self.origin}/", "blob:", "data:")):
            self.faults.append(f"asked {request.url}")

    def rows(self, selector: str) -> list[list[str]]:
        """Rows of a table's body as texts."""
        lines = self.page.locator(f"{selector} tbody tr").all()
        return [[cell.inner_text() for cell in line.locator("th, td").all()] for line in lines]

    def expected(self, what: str) -> None:
        """Chromium writes each refusal into its console; this one was provoked."""
        assert any(what in fault for fault in self.faults), self.faults
        self.faults = [fault for fault in self.faults if what not in fault]


@pytest.fixture
def opened(browser: Browser, origin: str) -> Iterator[Callable[..., Watched]]:
    """Opens the page; at the end, each page must have kept to itself."""
    watched: list[Watched] = []

    def build(prepare: Callable[[BrowserContext], object] | None = None, at: str = origin, **options: Any) -> Watched:
        given = {"viewport": {"width": 1100, "height": 900}, "reduced_motion": "reduce", **options}
        context = browser.new_context(**given)
        if prepare:
            prepare(context)
        made = Watched(context, at)
        watched.append(made)
        made.page.goto(at)
        return made

    yield build
    for each in watched:
        each.page.context.close()
        assert not each.faults


@pytest.fixture(scope="module")
def pictures(split_digits: Path) -> list[Path]:
    """Four digits that the model has not seen."""
    found = sorted((split_digits / "test").rglob("*.png"))
    return found[:: len(found) // 4][:4]


@pytest.fixture(scope="module")
def plain(browser: Browser, origin: str) -> Iterator[Page]:
    """The page, for tests that only borrow its modules."""
    page = browser.new_page()
    page.goto(origin)
    yield page
    page.close()
