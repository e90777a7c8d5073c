"""The pages for people in a real browser: a passkey is made and approves, and what is to be read can be read, by mouse or keyboard, on any screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from engine.promote import records
from engine.promote.approvals.roster import Person
from engine.promote.approvals.statement import challenge_of, statement_of
from engine.promote.types import PromotionRequest
from tests.promote.accepted import accept_one, copied
from tests.server.browser import IN_CHROMIUM, Desk
from tests.server.site import TOKEN, Site, serving

CONTROLS = {"button", "link", "textbox"}

pytestmark = [*IN_CHROMIUM]


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return accept_one(tmp_path_factory.mktemp("accepted"))


@pytest.fixture
def site(accepted: Path, tmp_path: Path) -> Iterator[Site]:
    """Production needs a passkey's signature; canary has Carol's already."""
    with serving(copied(accepted, tmp_path / "w").root, {"production-accepted": {"level": "webauthn"}}) as site:
        yield site


def asked_for_production(site: Site, desk: Desk, key_made: Callable[[Site, Desk], None]) -> PromotionRequest:
    """The request that waits for Dora, whose passkey was made in the browser."""
    key_made(site, desk)
    site.founder_signs(site.asked())
    return site.asked()


def by_mouse(site: Site, desk: Desk) -> None:
    site.enrol(Person(name="dora", roles=("approver",), keys=(desk.makes_passkey(site, "dora"),)))


def by_keyboard(site: Site, desk: Desk) -> None:
    desk.opens_passkey_page(site)
    desk.tabs_to("Your name in the approver list")
    desk.page.keyboard.type("dora")
    desk.page.keyboard.press("Enter")
    site.enrol(Person(name="dora", roles=("approver",), keys=(desk.shown_passkey(),)))


# ---- approving -------------------------------------------------------------------------------------------------------------------------


def test_a_person_makes_a_passkey_in_a_browser_and_brings_a_version_into_production_with_it(site: Site, desk: Desk) -> None:
    request = asked_for_production(site, desk, by_mouse)
    desk.opens_request(site, request)
    desk.page.get_by_role("button", name="Sign with a passkey").click()
    desk.hears(f"dora approved request {request.id} (webauthn,", f"{request.version} of tickets is production-accepted now")
    assert site.engine.fleet_status().clusters[0].serving == request.version
    assert [(each.approver, each.level) for each in records.approvals(site.engine.store)] == [("carol", "ssh-sk"), ("dora", "webauthn")]
    assert desk.page.get_by_role("button").count() == 0
    assert desk.complaints == []
    assert all(url.startswith(site.origin) and TOKEN not in url.partition("#")[0] for url in desk.asked)


def test_the_keyboard_alone_makes_a_passkey_and_approves(site: Site, desk: Desk) -> None:
    request = asked_for_production(site, desk, by_keyboard)
    desk.opens_request(site, request)
    desk.tabs_to("Sign with a passkey")
    desk.page.keyboard.press("Enter")
    desk.hears("is production-accepted now")


def test_what_is_signed_is_on_the_page_word_for_word_and_in_full_before_the_device_is_asked(site: Site, desk: Desk) -> None:
    request = asked_for_production(site, desk, by_mouse)
    before = desk.signatures_made()
    desk.opens_request(site, request)
    desk.sees(390, "light")
    statement = desk.page.locator("#statement")
    assert statement.text_content() == statement_of(request).decode()
    assert statement.evaluate("part => part.scrollWidth <= part.clientWidth")
    assert desk.page.locator("#challenge").inner_text() == challenge_of(request).hex()[:8]
    with desk.page.expect_popup() as opened:
        desk.page.get_by_role("link", name="Read the evidence").click()
    assert opened.value.url == f"{site.origin}/evidence/{request.evidence}"
    assert desk.page.url == f"{site.origin}/approve", "the token is out of the address"
    assert desk.signatures_made() == before


@pytest.mark.parametrize("fault", ["the person is not recognised", "the device does not hold the passkey"])
def test_a_device_that_does_not_confirm_leaves_the_request_open_and_the_page_says_what_to_do(site: Site, desk: Desk, fault: str) -> None:
    request = asked_for_production(site, desk, by_mouse)
    desk.opens_request(site, request)
    if fault == "the person is not recognised":
        desk.device_knows_the_person(False)
    else:
        desk.device_is_wiped()
    desk.page.get_by_role("button", name="Sign with a passkey").click()
    assert "Try again with the device" in desk.hears("Nothing was signed")
    assert site.approvals(request.id)["requests"][0]["status"] == "waiting"
    again = desk.page.get_by_role("button", name="Sign with a passkey")
    assert again.is_enabled()
    assert again.evaluate("button => button === document.activeElement")


def test_a_passkey_is_not_made_by_a_device_that_does_not_know_the_person_and_saved_as_a_file_by_one_that_does(site: Site, desk: Desk, tmp_path: Path) -> None:
    desk.device_knows_the_person(False)
    desk.opens_passkey_page(site)
    desk.page.get_by_label("Your name in the approver list").fill("dora")
    desk.page.get_by_role("button", name="Make a passkey").click()
    desk.hears("No passkey was made", "Try again")
    desk.device_knows_the_person(True)
    desk.page.get_by_role("button", name="Make a passkey").click()
    desk.hears("Made.")
    with desk.page.expect_download() as saved:
        desk.page.get_by_role("link", name="Save passkey.json").click()
    assert saved.value.suggested_filename == "passkey.json"
    assert saved.value.path().read_text().strip() == desk.page.locator("#record").inner_text().strip()


def test_an_address_put_into_the_same_tab_opens_its_request_and_one_that_no_passkey_may_sign_says_so(site: Site, desk: Desk) -> None:
    desk.page.goto(f"{site.origin}/approve")
    desk.hears("The address lacks what opens the page", "modelsmith approve REQUEST --page")
    desk.opens_request(site, site.asked())
    desk.hears("no passkey of somebody who may approve this")
    assert desk.page.get_by_role("button", name="Sign with a passkey").is_disabled()


def test_a_page_opened_by_number_says_by_which_name_a_passkey_can_be_asked(site: Site, desk: Desk) -> None:
    desk.page.goto(site.origin.replace("localhost", "127.0.0.1") + "/passkey")
    desk.hears("open this page as http://localhost")
    assert desk.page.get_by_role("button", name="Make a passkey").is_disabled()


# ---- reading ---------------------------------------------------------------------------------------------------------------------------


def test_the_evidence_is_read_without_javascript_and_printed_with_all_its_pictures(site: Site, without_javascript: Page) -> None:
    page, asked, complaints = without_javascript, [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.set_viewport_size({"width": 1280, "height": 800})
    address = f"{site.origin}/evidence/{site.asked().evidence}"
    page.goto(address)
    assert (asked, complaints) == ([address], [])
    assert page.get_by_text("Verdict: accepted").bounding_box()["y"] < 200, "the verdict is what one sees first"
    for media in ("screen", "print"):
        page.emulate_media(media=media)
        assert page.get_by_role("heading", name="Won and lost items").is_visible()
        pictures = [mark.bounding_box() for mark in page.locator(".plot .dot, .plot .won").all()]
        assert len(pictures) >= 9
        assert all(box["width"] >= 10 and box["height"] >= 10 for box in pictures)
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_javascript_the_signing_pages_say_what_to_do_instead(site: Site, without_javascript: Page) -> None:
    for path, instead in (("approve", "modelsmith approve REQUEST --key PATH"), ("passkey", "modelsmith approvers add NAME --public-key")):
        without_javascript.goto(f"{site.origin}/{path}")
        said = without_javascript.locator("noscript")
        assert said.is_visible()
        assert instead in said.inner_text()
        assert without_javascript.get_by_role("button").count() == 0


def every_page(site: Site, desk: Desk) -> Iterator[str]:
    """Opens one after the other, each with all that it shows, and names it."""
    request = asked_for_production(site, desk, by_mouse)
    yield "passkey"
    desk.opens_request(site, request)
    yield "approve"
    desk.page.goto(f"{site.origin}/evidence/{request.evidence}")
    yield "evidence"


def test_every_page_fits_a_phone_and_a_desk_and_is_readable_in_light_and_dark(site: Site, desk: Desk) -> None:
    for name in every_page(site, desk):
        for width in (390, 1280):
            for scheme in ("light", "dark"):
                desk.sees(width, scheme)
                assert not desk.is_cut_off(), (name, width)
                assert desk.pale_texts() == [], (name, scheme)


def test_every_control_has_a_name_and_every_page_a_language_and_headings_in_order(site: Site, desk: Desk) -> None:
    for name in every_page(site, desk):
        parts = desk.parts_read_aloud()
        assert [part for part in parts if part[0] in CONTROLS and not part[1]] == [], name
        assert desk.page.locator("html").get_attribute("lang") == "en"
        levels = desk.page.locator("h1, h2, h3").evaluate_all("parts => parts.filter((part) => part.checkVisibility()).map((part) => part.tagName)")
        assert levels[0] == "H1", name
        assert set(levels[1:]) == {"H2"}, name
