"""A person at a browser with a device that holds passkeys: Chromium, driven as a person would, with Chromium's own authenticator in place of a device."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page

from engine.promote.approvals.roster import Passkey
from engine.promote.types import PromotionRequest
from tests.server.site import TOKEN, Site

CHROMIUM = os.environ.get("MODELSMITH_CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IN_CHROMIUM = (
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is on PATH, and MODELSMITH_CHROMIUM names none"),
)
"""The marks of a file whose tests need a browser; its fixtures are in `conftest.py`."""
WAIT_MS = 15_000

CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (share) => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  const light = (colour) => colour.slice(0, 3).reduce((sum, part, at) => sum + [0.2126, 0.7152, 0.0722][at] * linear(part / 255), 0);
  const ground = (element) => {
    const colour = numbers(getComputedStyle(element).backgroundColor);
    return (colour[3] ?? 1) > 0 ? colour : ground(element.parentElement);
  };
  const ratio = (element) => {
    const style = getComputedStyle(element), ink = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [low, high] = [light(numbers(ink)), light(ground(element))].sort((one, other) => one - other);
    return (high + 0.05) / (low + 0.05);
  };
  const written = (element) => Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
  const texts = Array.from(document.body.querySelectorAll("*")).filter((element) => written(element) && element.checkVisibility() && !element.disabled);
  return texts.map((element) => [element.textContent.trim().slice(0, 40), ratio(element)]);
}"""
"""Every text that is seen, and how far its colour stands from what is behind it, as the accessibility guidelines count it."""


class Desk:
    """What the person does, and what the browser asked for and complained of meanwhile."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("WebAuthn.enable")
        options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
        device = {**options, "isUserVerified": True, "automaticPresenceSimulation": True}
        self._device = self._devtools.send("WebAuthn.addVirtualAuthenticator", {"options": device})["authenticatorId"]

    # ---- the device ------------------------------------------------------------------------------------------------------------------

    def device_knows_the_person(self, known: bool) -> None:
        """Whether the PIN, fingerprint or face fits."""
        self._devtools.send("WebAuthn.setUserVerified", {"authenticatorId": self._device, "isUserVerified": known})

    def device_is_wiped(self) -> None:
        self._devtools.send("WebAuthn.clearCredentials", {"authenticatorId": self._device})

    def signatures_made(self) -> list[int]:
        """How often each passkey of the device was used, as it counts itself."""
        credentials = self._devtools.send("WebAuthn.getCredentials", {"authenticatorId": self._device})["credentials"]
        return [credential["signCount"] for credential in credentials]

    # ---- the pages -------------------------------------------------------------------------------------------------------------------

    def opens_passkey_page(self, site: Site) -> None:
        self.page.goto(f"{site.origin}/passkey")

    def makes_passkey(self, site: Site, name: str) -> Passkey:
        """By mouse; what the page then shows."""
        self.opens_passkey_page(site)
        self.page.get_by_label("Your name in the approver list").fill(name)
        self.page.get_by_role("button", name="Make a passkey").click()
        return self.shown_passkey()

    def shown_passkey(self) -> Passkey:
        self.hears("Made.")
        return Passkey(**json.loads(self.page.locator("#record").inner_text()))

    def opens_request(self, site: Site, request: PromotionRequest) -> None:
        """At the address that `modelsmith approve --page` prints."""
        self.page.goto(f"{site.origin}/approve#{urlencode({'request': request.id, 'token': TOKEN})}")
        self.page.get_by_role("heading", name="Exactly what is signed").wait_for()

    def hears(self, *words: str) -> str:
        """What the page says, as soon as it says these words."""
        said = self.page.get_by_role("status")
        for word in words:
            said.filter(has_text=word).wait_for()
        return said.inner_text()

    def tabs_to(self, name: str) -> None:
        """From where the focus is, with the Tab key alone."""
        goal = self.page.locator(":focus").and_(self.page.get_by_role("button", name=name).or_(self.page.get_by_role("textbox", name=name)))
        for _ in range(10):
            self.page.keyboard.press("Tab")
            if goal.count():
                return
        raise AssertionError(f"no Tab leads to {name}")

    # ---- what a reader sees ----------------------------------------------------------------------------------------------------------

    def sees(self, width: int, scheme: Any) -> None:
        """From now on in a window of this width, with the colours that the person's system asks for."""
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.emulate_media(color_scheme=scheme)

    def pale_texts(self) -> list[tuple[str, float]]:
        """Texts that stand out less than the accessibility guidelines ask for."""
        found = self.page.evaluate(CONTRASTS)
        assert found
        return [(text, round(ratio, 2)) for text, ratio in found if ratio < 4.5]

    def is_cut_off(self) -> bool:
        """Whether the page is wider than the window."""
        return bool(self.page.evaluate("document.scrollingElement.scrollWidth > innerWidth"))

    def parts_read_aloud(self) -> list[tuple[str, str]]:
        """Role and name of each part, as a screen reader gets them."""
        nodes = self._devtools.send("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
