"""The pages about the atlas in a real browser: read without scripts, used by keyboard alone, readable on any screen, and redrawn while a knob moves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from playwright.sync_api import Page

from tests.server.atlas_site import AtlasSite, serving_atlas
from tests.server.browser import IN_CHROMIUM, Desk

REDRAW_MS = 100
"""From a knob's movement to the new pictures on the screen, in the median of a round."""
ROUNDS, MOVES = 3, 15
"""The quickest round counts: what else a machine does only adds to a redraw."""

PAGES = {
    "start": ("", {}),
    "models": ("atlas", {"accelerator": "L4 24GB", "quantisation": "int4"}),
    "sheets": ("models", {"compare": ["Qwen/Qwen3-4B", "openai/gpt-oss-20b", "house/hostile"], "accelerator": "L4 24GB"}),
    "accelerators": ("accelerators", {}),
    "plan": ("plan", {"tpot_ms": "30", "export": "vllm", "try-cost": "1", "try-doubled": "it rises by more than 5%"}),
    "refused": ("atlas", {"count": "99", "min_parameters_billion": "many"}),
    "triage": ("triage", {"cluster": "tickets", "try-items": "385"}),
    "rules": ("triage", {"need": "labels", "labelled_rows": "300"}),
    "history": ("history", {}),
    "lab": ("lab", {"tpot_ms": "80", "ttft_ms": "1000", "try-floor": "26.8"}),
}

pytestmark = [*IN_CHROMIUM]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtlasSite]:
    with serving_atlas(tmp_path_factory.mktemp("atlas")) as site:
        yield site


@pytest.fixture
def lab_apart(tmp_path: Path) -> Iterator[str]:
    """The laboratory's address, served by another process, as the daemon is one: here a test's own work would be counted as its answer's."""
    command = [sys.executable, "-m", "tests.server.atlas_site", str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as served:
        yield served.stdout.readline().strip()
        served.stdin.close()
        assert served.wait(30) == 0


def opened(site: AtlasSite, desk: Desk) -> Iterator[str]:
    """Opens one page after the other, with everything unfolded, and names it."""
    for name, (page, query) in PAGES.items():
        desk.page.goto(site.address(page, **query))
        desk.page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        yield name


def test_every_page_fits_a_phone_and_a_desk_and_is_readable_in_light_and_dark(site: AtlasSite, desk: Desk) -> None:
    for name in opened(site, desk):
        for width in (390, 1280):
            for scheme in ("light", "dark"):
                desk.sees(width, scheme)
                assert not desk.is_cut_off(), (name, width)
                assert desk.pale_texts() == [], (name, scheme)


def test_every_control_has_a_name_headings_are_in_order_and_nothing_is_complained_of(site: AtlasSite, desk: Desk) -> None:
    for name in opened(site, desk):
        parts = desk.parts_read_aloud()
        controls = {"button", "link", "textbox", "combobox", "checkbox", "radio", "slider", "spinbutton", "image"}
        assert [part for part in parts if part[0] in controls and not part[1]] == [], name
        levels = [int(each[1]) for each in desk.page.locator("h1, h2, h3").evaluate_all("parts => parts.map((part) => part.tagName)")]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), name
    assert [said for said in desk.complaints if "status of 400" not in said] == []
    assert all(url.startswith(site.origin) for url in desk.asked)


def test_without_a_script_a_plan_is_asked_for_explained_exported_and_an_exercise_checked(site: AtlasSite, without_javascript: Page) -> None:
    page = without_javascript
    page.goto(site.address("plan"))
    page.get_by_label("Most milliseconds between tokens", exact=True).fill("40")
    page.get_by_text("Why this matters: Most milliseconds between tokens").click()
    assert page.get_by_text("It is what a larger batch makes worse.").is_visible()
    page.get_by_role("button", name="Plan", exact=True).click()
    assert page.get_by_label("Most milliseconds between tokens", exact=True).input_value() == "40"
    page.get_by_label("As", exact=True).select_option("compose")
    page.get_by_role("button", name="Make the file").click()
    assert page.locator("pre").inner_text().startswith("services:")
    page.get_by_label("it falls by more than 5%").check()
    page.get_by_role("button", name="Check").click()
    assert page.locator(".verdict").inner_text().startswith(("Right.", "Not so."))
    assert page.get_by_label("Most milliseconds between tokens", exact=True).input_value() == "40"


def test_without_a_script_an_answer_is_kept_with_a_note_and_another_one_added(site: AtlasSite, without_javascript: Page) -> None:
    page = without_javascript
    page.goto(site.address("triage"))
    page.get_by_label("What is wrong with the answers", exact=True).select_option("facts")
    page.get_by_role("button", name="Answer", exact=True).click()
    assert page.locator(".panel").inner_text() == "Do not train."
    for note, button in (("We look things up.", "Keep it"), ("Still so in spring.", "Add it")):
        page.get_by_label("Who you are").fill("ada")
        page.get_by_label("What was decided, and why").fill(note)
        page.get_by_role("button", name=button).click()
        page.wait_for_url("**/history?decision=d-*")
    assert page.locator("article li").all_inner_texts()[0].startswith("We look things up. (ada, ")
    assert page.locator("article li").count() == 2


def test_without_a_script_the_laboratory_is_turned_by_its_button(site: AtlasSite, without_javascript: Page) -> None:
    page = without_javascript
    page.goto(site.address("lab"))
    page.get_by_label("Requests in flight", exact=True).press("End")
    page.get_by_role("button", name="Show").click()
    assert "at 512 requests in flight: it does not fit" in page.locator("figure").first.inner_text()
    assert page.locator("output[for=concurrency]").inner_text() == "512"


def test_the_keyboard_alone_finds_models_compares_them_and_turns_a_knob(site: AtlasSite, desk: Desk) -> None:
    keyboard = desk.page.keyboard
    desk.page.goto(site.address("atlas"))
    keyboard.press("Tab")
    assert desk.page.locator(":focus").inner_text() == "Skip to the content"
    assert desk.page.locator(":focus").bounding_box()["x"] >= 0, "it comes into view"
    keyboard.press("Enter")
    keyboard.press("Tab")
    keyboard.type("qwen3 4b")
    keyboard.press("Enter")
    desk.page.wait_for_url("**text=qwen3*")
    focused(desk, "Compare Qwen/Qwen3-4B")
    keyboard.press("Space")
    focused(desk, "Side by side")
    keyboard.press("Enter")
    desk.page.get_by_role("heading", name="What is known").wait_for()
    desk.page.goto(site.address("lab"))
    focused(desk, "Requests in flight")
    keyboard.press("ArrowRight")
    desk.page.locator("figure", has_text="at 10 requests in flight").wait_for()
    assert desk.page.locator("output[for=concurrency]").inner_text() == "10"
    assert desk.page.locator(":focus").get_attribute("id") == "concurrency", "the knob keeps the focus"


def focused(desk: Desk, name: str) -> None:
    """Goes on with the Tab key until the control of this name has the focus, and sees that the focus shows."""
    goal = desk.page.get_by_label(name, exact=True).or_(desk.page.get_by_role("button", name=name, exact=True)).and_(desk.page.locator(":focus"))
    for _ in range(90):
        desk.page.keyboard.press("Tab")
        if goal.count():
            assert goal.evaluate("part => getComputedStyle(part).outlineStyle") == "solid"
            return
    raise AssertionError(f"no Tab leads to {name}")


@pytest.mark.alone
def test_a_knob_that_moves_redraws_its_pictures_before_one_waits_for_them(lab_apart: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.page.goto(lab_apart)
    desk.page.get_by_text("Latency and throughput as a table").click()
    slider = desk.page.get_by_label("Prompt tokens of a request", exact=True)
    before = desk.page.locator("#tpot_ms-desc").text_content()
    slider.focus()
    for move in range(ROUNDS * MOVES):
        desk.page.keyboard.press("ArrowRight" if move % 2 else "ArrowLeft")
        desk.page.wait_for_function("count => performance.getEntriesByName('redraw').length > count", arg=move, polling=50)
    taken = desk.page.evaluate("performance.getEntriesByName('redraw').map((entry) => entry.duration)")
    medians = [median(taken[start : start + MOVES]) for start in range(0, len(taken), MOVES)]
    with capsys.disabled():
        print(f"\n  {len(taken)} redraws: medians {', '.join(f'{each:.0f}' for each in medians)} ms, slowest {max(taken):.0f} ms")
    assert min(medians) < REDRAW_MS
    assert desk.page.locator("#tpot_ms-desc").text_content() != before
    assert desk.page.locator("#loads").get_attribute("open") is not None, "what was unfolded stays so"
    assert "power-of-two.prompt_tokens=9.5" in desk.page.url, "the address can be kept"
    assert desk.complaints == []


def test_a_knob_that_is_dragged_ends_at_its_last_place(site: AtlasSite, desk: Desk) -> None:
    desk.page.goto(site.address("lab"))
    slider = desk.page.get_by_label("Requests in flight", exact=True)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    desk.page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    desk.page.mouse.down()
    for step in range(30):
        desk.page.mouse.move(box["x"] + box["width"] * (0.3 + step / 42), middle)
    desk.page.mouse.move(box["x"] + box["width"] + 20, middle)
    desk.page.mouse.up()
    desk.page.locator("figure", has_text="at 512 requests in flight").wait_for()
    assert "512" in desk.page.locator("output[for=concurrency]").inner_text()


def test_a_daemon_that_has_gone_is_said_with_what_to_do(site: AtlasSite, desk: Desk) -> None:
    desk.page.goto(site.address("lab"))
    desk.page.route("**/lab/figures*", lambda route: route.abort())
    desk.page.get_by_label("Requests in flight", exact=True).press("ArrowRight")
    desk.page.locator("#said", has_text="The daemon does not answer. Run modelsmith open").wait_for()
