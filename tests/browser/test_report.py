"""The report as a browser shows it: nothing from the network, no errors, players that play, tables that sort."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from am.report import ReportConfig, write_report
from tests.browser.chromium import Chromium, chromium, missing
from tests.report_work import whole_work_dir

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=f"{missing()} is not installed"),
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the report of a small work directory."""
    work = tmp_path_factory.mktemp("work")
    whole_work_dir(work)
    config = ReportConfig(examples=2, replicas=200)
    write_report(work, work / "RESULTS.md", html=work / "report.html", title="Toy", config=config)
    return (work / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(autouse=True)
def _opened(browser: Chromium, page: str) -> None:
    browser.resize(1440, 900)
    browser.open("about:blank")
    browser.console(), browser.requests()
    browser.open(page)


def column(browser: Chromium, table: str, number: int) -> list[str]:
    script = """
      const rows = [...document.querySelector(`table[data-name=${arguments[0]}]`).tBodies[0].rows];
      return rows.map(row => row.cells[arguments[1]]).map(cell => cell.dataset.value ?? cell.textContent.trim());
    """
    return list(browser.run(script, table, number))


def head(browser: Chromium, table: str, number: int, what: str) -> object:
    cell = "document.querySelector(`table[data-name=${arguments[0]}]`).tHead.rows[0].cells[arguments[1]]"
    return browser.run(f"return {cell}{what}", table, number)


def test_it_opens_without_a_word_in_the_console_or_a_request_elsewhere(browser: Chromium, page: str) -> None:
    asked = [address for address in browser.requests() if not address.startswith("data:")]
    assert asked == [page]
    assert browser.console() == []
    assert browser.run("return document.title") == "Toy"


def test_players_and_spectrograms_load(browser: Chromium) -> None:
    script = """
      const players = [...document.querySelectorAll("audio")];
      return Promise.all(players.map(player => player.readyState > 0 ? player : new Promise((done, failed) => {
        player.onloadedmetadata = () => done(player); player.onerror = () => failed(player.error.message);
      }))).then(players => players.map(player => [player.readyState, player.duration]));
    """
    players = browser.run(script)
    assert len(players) == 4 * 3, "two wins and two losses, three versions each"
    assert all(state > 0 and duration == pytest.approx(0.3, abs=0.01) for state, duration in players)
    pictures = browser.run("return [...document.images].map(picture => [picture.naturalWidth, picture.naturalHeight])")
    assert pictures == [[28, 128]] * 12, "a frame each 10 ms, 128 bands"


def test_a_player_plays(browser: Chromium) -> None:
    script = "const player = document.querySelector('audio'); return player.play().then(() => player.error === null)"
    browser.devtools("Runtime.evaluate", expression="1", userGesture=True)
    assert browser.run(script) is True


def test_tables_sort_by_click_in_both_directions(browser: Chromium) -> None:
    browser.run("document.querySelector('#change details').open = true")
    before = [float(value) for value in column(browser, "change", 3)]
    assert before != sorted(before)
    head(browser, "change", 3, ".querySelector('button').click()")
    assert [float(value) for value in column(browser, "change", 3)] == sorted(before)
    assert head(browser, "change", 3, ".getAttribute('aria-sort')") == "ascending"
    head(browser, "change", 3, ".querySelector('button').click()")
    assert [float(value) for value in column(browser, "change", 3)] == sorted(before, reverse=True)
    head(browser, "change", 2, ".querySelector('button').click()")
    words = column(browser, "change", 2)
    assert words == sorted(words)
    assert head(browser, "change", 3, ".getAttribute('aria-sort')") is None, "one column at a time"


def test_tables_sort_from_the_keyboard(browser: Chromium) -> None:
    before = [float(value) for value in column(browser, "wer_open", 3) if value]
    head(browser, "wer_open", 3, ".querySelector('button').focus()")
    browser.press("\ue007")
    assert head(browser, "wer_open", 3, ".getAttribute('aria-sort')") == "ascending"
    assert [float(value) for value in column(browser, "wer_open", 3) if value] == sorted(before)


@pytest.mark.parametrize("width", [375, 820, 1440])
def test_nothing_is_wider_than_the_screen(browser: Chromium, width: int) -> None:
    browser.resize(width, 900)
    browser.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    drawn = browser.run("return [...document.querySelectorAll('.pair svg')].filter(s => s.clientWidth).length")
    assert drawn == browser.run("return document.querySelectorAll('.pair').length"), "one of wide and narrow"
    small = browser.run(
        "return Math.min(...[...document.querySelectorAll('.panels svg, .pair svg')].filter(s => s.clientWidth)"
        ".map(s => 12 * s.clientWidth / s.viewBox.baseVal.width))"
    )
    assert small >= 9.0, "letters in pictures, in CSS pixels"


def test_dark_and_light_differ_and_both_can_be_read(browser: Chromium) -> None:
    script = """
      const light = text => { const v = text.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
        .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      const seen = [...document.querySelectorAll("p, td, th, a, h2, .headlines li, svg .tick")].map(e =>
        light(e.closest("svg") ? getComputedStyle(e).fill : getComputedStyle(e).color));
      return [paper, Math.min(...seen.map(ink => (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05)))];
    """
    papers = []
    for scheme in ("light", "dark"):
        browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        paper, contrast = browser.run(script)
        papers.append(paper)
        assert contrast >= 4.5, "WCAG 2, level AA"
    assert papers[0] > 0.9 and papers[1] < 0.1


def test_without_script_everything_is_there_but_the_sorting(browser: Chromium, page: str) -> None:
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page)
    browser.devtools("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.run("return document.querySelectorAll('th button').length") == 0
    assert browser.run("return document.querySelectorAll('table').length") > 5
    assert browser.run("return document.querySelector('#change svg.wide').clientHeight") > 100


def test_in_print_the_players_and_the_list_of_chapters_are_gone(browser: Chromium) -> None:
    browser.devtools("Emulation.setEmulatedMedia", media="print")
    shown = "return [...document.querySelectorAll(arguments[0])].filter(e => e.getClientRects().length).length"
    assert [browser.run(shown, what) for what in ("nav", "audio", ".download")] == [0, 0, 0]
    assert browser.run(shown, ".example img") == 12
    browser.devtools("Emulation.setEmulatedMedia", media="screen")
