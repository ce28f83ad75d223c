"""Fixtures of the tests that open a report in a browser."""

from pathlib import Path
from typing import Any

import pytest
from browsers import CHROMIUM


@pytest.fixture(scope="session")
def browser() -> Any:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the dependency group `browser`")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Any:
    """Open a report from the file system; at the end, nothing may have gone wrong or gone out."""
    contexts: Any = []
    wrong: Any = []

    def opened(path: Path, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    requests: Any = []
    yield opened
    for context in contexts:
        context.close()
    assert wrong == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert sum(url.startswith("file:") for url in requests) == len(contexts)
