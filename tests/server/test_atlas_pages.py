"""The pages about the atlas as they are sent: who may read them, what they hold, and that nothing in them runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2
import pytest

from server.atlas_pages.drawing import TEMPLATES
from server.atlas_pages.lab_words import KNOBS
from server.atlas_pages.places import PLACES
from server.atlas_pages.words import EXPORT, PLAN, SEARCH, Group
from server.client import ensure_daemon
from tests.server.atlas_site import CODE, HOSTILE, TOKEN, AtlasSite, Read, serving_atlas
from tests.server.daemons import daemon_workspace, run_cli
from tools.atlas import PLAN_DEPLOYMENT, SEARCH_MODELS
from tools.lab import PHYSICS_LAB
from tools.tool import Tool, call

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["", *(place.name for place in PLACES)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtlasSite]:
    with serving_atlas(tmp_path_factory.mktemp("atlas")) as site:
        yield site


# ---- who may read ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_read_with_the_code_in_its_address_and_with_no_other(site: AtlasSite, page: str) -> None:
    assert site.get(page).status_code == 200
    for wrong in ("wrong", CODE[:-1], CODE + "x", CODE.upper(), "%ff", ""):
        refused = site.http.get(f"/at/{wrong}/{page}")
        assert refused.status_code == 401
        assert "modelsmith open" in refused.json()["error"]["next_step"]
        assert CODE not in refused.text
    with_token = site.http.get(f"/at/wrong/{page}", headers={"authorization": f"Bearer {TOKEN}"})
    assert with_token.status_code == 401, "the token opens tools, and no address with a wrong code"


def test_the_address_is_told_to_whoever_has_the_token(site: AtlasSite) -> None:
    assert site.http.post("/api/v1/pages").status_code == 401
    told = site.http.post("/api/v1/pages", headers={"authorization": f"Bearer {TOKEN}"}).json()
    assert told["url"] == site.address("")
    assert told["pages"] == {place.name: site.address(place.name) for place in PLACES}


def test_a_page_of_another_origin_or_name_does_not_get_in_with_the_code(site: AtlasSite) -> None:
    for headers, status in (({"origin": "http://127.0.0.1:1"}, 403), ({"host": "evil.example"}, 421)):
        assert site.http.get(site.address(""), headers=headers).status_code == status


@pytest.mark.processes
def test_the_command_prints_an_address_that_works_until_the_daemon_stops_and_stands_in_no_file(tmp_path: Path) -> None:
    with daemon_workspace(tmp_path) as workspace:
        said = run_cli(workspace, "open", PLACES[-1].name, "--json")
        url = said.json["url"]
        code = url.split("/")[4]
        assert (said.code, url.rsplit("/", 1)[1], len(code)) == (0, PLACES[-1].name, 43)
        assert httpx2.get(url, timeout=60).status_code == 200
        assert httpx2.get(url.replace(code, "wrong")).status_code == 401
        kept = [path for path in workspace.state.rglob("*") if path.is_file() and code.encode() in path.read_bytes()]
        assert kept == []
        assert workspace.daemon_log.exists()
        assert run_cli(workspace, "daemon", "stop").code == 0
        ensure_daemon(workspace)
        assert run_cli(workspace, "open", "--json").json["url"].split("/")[4] != code


# ---- what is sent ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_nothing_inline_loads_only_what_is_ours_and_links_relatively(site: AtlasSite, page: str) -> None:
    response = site.get(page)
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
    assert (response.headers["cache-control"], response.headers["referrer-policy"]) == ("no-store", "same-origin")
    assert TOKEN not in response.text
    assert CODE not in response.text
    read = Read.of(response.text)
    assert not [name for _, attrs in read.elements for name in attrs if name.startswith("on") or name == "style"]
    targets = [attrs[name] for _, attrs in read.elements for name in ("href", "src", "action") if name in attrs]
    assert targets
    for target in targets:
        assert urljoin(site.address(page), target).startswith((site.address(""), f"{site.origin}/static/")), target
        assert not target.startswith(("/", "http")), target


@pytest.mark.parametrize("page", PAGES)
def test_every_page_can_be_read_aloud(site: AtlasSite, page: str) -> None:
    read = site.read(page)
    assert read.all("html", lang="en")
    assert read.all("a", class_="skip", href="#main")
    assert len(read.all("h1")) == 1
    assert [tag for tag, _ in read.elements].count("table") == [tag for tag, _ in read.elements].count("caption")
    assert all("scope" in attrs for attrs in read.all("th"))
    named = [attrs["id"] for _, attrs in read.elements if "id" in attrs]
    assert len(named) == len(set(named))
    labels = {attrs["for"] for attrs in read.all("label") if "for" in attrs}
    unnamed = [attrs for attrs in read.all("input", "select", "textarea") if attrs.get("type") != "hidden" and attrs.get("id") not in labels]
    assert unnamed == []


def test_hardware_is_listed_with_its_prices_their_dates_and_sources(site: AtlasSite) -> None:
    read = site.read("accelerators")
    for words in ("L4 24GB", "0.805", "2026-Q1", "g6.xlarge", "gpu_specs.go"):
        assert words in read.text


def test_words_that_try_to_become_part_of_the_page_stay_words(site: AtlasSite) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("accelerators", {}),
        ("atlas", {"max_parameters_billion": 0.002}),
        ("atlas", {"text": HOSTILE}),
        ("atlas", {"accelerator": HOSTILE}),
        ("atlas", {"try-weights": HOSTILE, "try-cache": HOSTILE}),
        ("models", {"compare": "house/hostile", "accelerator": "House 1"}),
        ("plan", {"own": HOSTILE, "text": HOSTILE}),
        ("lab", {"model": "house/hostile", "accelerator": "House 1", "power-of-two.concurrency": HOSTILE}),
        ("lab/figures", {"model": HOSTILE}),
        ("plan", {"export": HOSTILE, "configuration": HOSTILE, "revision": HOSTILE}),
    ]
    for page, query in asked:
        html = site.get(page, **query).text
        read = Read.of(html)
        shown = read.text + str(read.elements)
        assert HOSTILE[:25] in shown, (page, query)
        assert [attrs for attrs in read.all("script") if attrs.get("src") != "../../static/lab.js"] == []
        assert not read.all("img")
        assert "49" not in read.text or "7*7" in shown


def test_every_template_is_installed_with_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["server.atlas_pages"]
    assert set(TEMPLATES.parent.glob(declared[0])) == set(TEMPLATES.rglob("*.*"))


# ---- models --------------------------------------------------------------------------------------------------------------------------------


FORMS = [
    (SEARCH_MODELS, SEARCH, {"compare", "cursor", "limit"}),
    (PLAN_DEPLOYMENT, (*PLAN, Group("", EXPORT)), {"cursor", "limit"}),
    (PHYSICS_LAB, KNOBS, set()),
]


@pytest.mark.parametrize(("tool", "groups", "apart"), FORMS, ids=lambda part: getattr(part, "name", ""))
def test_a_form_asks_for_every_argument_and_says_of_each_why_it_matters(tool: Tool, groups: tuple[Group, ...], apart: set[str]) -> None:
    words = [each for group in groups for each in group.words]
    assert {each.name for each in words} == set(tool.arguments.model_fields) - apart
    for each in words:
        assert 1 <= len(re.findall(r"[.?](?: |$)", each.why)) <= 4, each.name


def test_models_are_found_by_what_is_filled_in_and_each_field_keeps_it(site: AtlasSite) -> None:
    read = site.read("atlas", text="qwen3 4b", licence="permissive", accelerator="L4 24GB", quantisation="int4", fits="true", max_parameters_billion="")
    assert "Qwen/Qwen3-4B" in read.text
    assert "openai/gpt-oss-20b" not in read.text
    assert read.all("input", name="text", value="qwen3 4b")
    assert read.all("option", value="permissive", selected="")
    assert read.all("input", name="fits", checked="")
    said = call(site.engine, SEARCH_MODELS, {"text": "qwen3 4b", "licence": "permissive", "accelerator": "L4 24GB", "quantisation": "int4", "fits": True})
    assert said["summary"] in read.text
    assert read.all("svg", class_="strip")


def test_pages_of_a_list_follow_one_another_and_keep_what_was_asked(site: AtlasSite) -> None:
    read, seen = site.read("atlas", text="qwen", order="release"), []
    while True:
        seen += [attrs["value"] for attrs in read.all("input", name="compare")]
        following = read.all("a", rel="next")
        if not following:
            break
        read = Read.of(site.get(following[0]["href"]).text)
        assert read.all("input", name="text", value="qwen")
    assert len(seen) == len(set(seen)) == call(site.engine, SEARCH_MODELS, {"text": "qwen"})["total"]
    assert read.all("a", rel="prev")


@pytest.mark.parametrize(
    ("page", "query", "field", "said"),
    [
        ("atlas", {"count": "99"}, "count", "less than or equal to 8"),
        ("atlas", {"min_parameters_billion": "many", "text": "qwen"}, "min_parameters_billion", "valid number"),
        ("plan", {"tpot_ms": "-1"}, "tpot_ms", "greater than 0"),
        ("plan", {"weights": ["40", "1"]}, "weights", "at least 6"),
        ("plan", {"quantisations": "int3"}, "quantisations", "bf16"),
        ("lab", {"power-of-two.concurrency": "many"}, "concurrency", "valid integer"),
        ("lab", {"hit_share": "2"}, "hit_share", "less than or equal to 0.99"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_in_the_words_of_every_surface(site: AtlasSite, page: str, query: dict[str, Any], field: str, said: str) -> None:
    response = site.get(page, **query)
    read = Read.of(response.text)
    assert response.status_code == 400
    assert read.all("p", class_="problem", id=f"problem-{field}")
    assert read.all("input", **{"aria-describedby": f"problem-{field}", "aria-invalid": "true"})
    assert said in read.text
    if "text" in query:
        assert read.all("input", name="text", value="qwen"), "what was filled in besides stays"


def test_a_refusal_of_the_whole_says_what_to_do(site: AtlasSite) -> None:
    response = site.get("atlas", accelerator="H100")
    assert response.status_code == 404
    assert "H100 PCIe 80GB" in Read.of(response.text).text
    assert "Name one with `accelerator`" in site.get("atlas", fits="true").text


def test_a_sheet_has_the_source_of_every_value_and_how_far_it_is_trusted(site: AtlasSite) -> None:
    read = site.read("models", compare=["Qwen/Qwen3-4B", "openai/gpt-oss-20b"], accelerator="L4 24GB")
    for words in ("vllm-project/recipes models/Qwen/Qwen3-4B.yaml", "Confidence: high", "4 of 32", "What the textbook says"):
        assert words in read.text
    targets = {attrs["id"] for attrs in read.all("li") if "id" in attrs}
    marks = [attrs["href"].removeprefix("#") for attrs in read.all("a") if attrs.get("href", "").startswith("#source")]
    assert marks
    assert set(marks) <= targets
    assert "Tuple should have at most 5" in site.get("models", compare=["Qwen/Qwen3-4B"] * 6).text


# ---- plans -------------------------------------------------------------------------------------------------------------------------------


def test_a_plan_shows_every_term_intervals_limits_and_what_would_change_it(site: AtlasSite) -> None:
    query = {"task": "code", "permissive": "true", "usd_per_hour": "2", "tpot_ms": "30", "own": ["2 x RTX 4090", "", ""], "rent": "true"}
    read = site.read("plan", **query)
    said = call(site.engine, PLAN_DEPLOYMENT, {**query, "own": ["2 x RTX 4090"]})
    for words in (said["summary"], *said["reasons"], *said["would_change"], *said["assumptions"]):
        assert words in read.text
    best = said["configurations"][0]
    assert all(f"{points:g} of" in read.text for points in best["terms"].values())
    assert len(read.all("svg", class_="bar")) == 6 * len(said["configurations"])
    assert len(read.all("line", class_="limit")) == 2 * len(said["configurations"]), "the limit on the time between tokens, and the memory"


def test_a_configuration_becomes_a_file_on_the_page_and_one_to_save(site: AtlasSite) -> None:
    read = site.read("plan", export="compose")
    assert "services: model: image:" in read.text
    (saved,) = [attrs["href"] for attrs in read.all("a") if attrs.get("download")]
    file = site.get(saved)
    assert file.headers["content-disposition"] == 'attachment; filename="compose.yaml"'
    assert file.text.startswith("services:")
    refused = site.get("plan", export="profile")
    assert refused.status_code == 400
    assert "no revision is given" in refused.text
    assert "Ranked configurations" in refused.text, "the plan itself stays"


# ---- the laboratory ------------------------------------------------------------------------------------------------------------------------


def test_the_laboratory_draws_what_the_tool_answers_and_says_it_as_tables(site: AtlasSite) -> None:
    read = site.read("lab", model="Qwen/Qwen3-4B", accelerator="L4 24GB", concurrency=16, tpot_ms=80)
    said = call(site.engine, PHYSICS_LAB, {"model": "Qwen/Qwen3-4B", "accelerator": "L4 24GB", "concurrency": 16, "tpot_ms": 80})
    assert said["summary"] in read.text
    pictures = read.all("svg", role="img")
    names = {attrs["id"] for attrs in read.all("title", "desc") if "id" in attrs}
    assert len(pictures) == 5
    assert all(set(attrs["aria-labelledby"].split()) <= names for attrs in pictures)
    assert {"weights", "caches", "overhead"} <= {attrs.get("class") for attrs in read.all("rect")}
    for line in said["loads"][:5]:
        assert f"{line['tpot_ms']['value']:g} ({line['tpot_ms']['low']:g} to {line['tpot_ms']['high']:g})" in read.text
    for words in (*said["assumptions"], "full fine-tuning", "GRPO of an adapter", "What the textbook says"):
        assert words in read.text


def test_a_slider_says_its_value_and_stands_where_the_address_says_without_a_script(site: AtlasSite) -> None:
    read = site.read("lab", **{"power-of-two.concurrency": "5", "power-of-two.prompt_tokens": "12", "drafted": "3"})
    (slider,) = read.all("input", type="range", id="concurrency")
    assert float(slider["value"]) == 5
    assert slider["aria-valuetext"] == "32"
    assert read.all("output", **{"for": "concurrency"})
    assert "at 32 requests in flight" in read.text
    assert read.all("input", type="hidden", name="prompt_tokens", value="4096")


def test_the_part_that_a_script_asks_for_is_that_of_the_page(site: AtlasSite) -> None:
    query = {"power-of-two.concurrency": "4.25", "tpot_ms": "60"}
    part, page = site.get("lab/figures", **query).text, site.get("lab", **query).text
    assert part.strip() in page
    assert "<html" not in part
    assert site.get("lab/figures", model="nope").status_code == 404


# ---- exercises -----------------------------------------------------------------------------------------------------------------------------


ASKED = [
    ("atlas", {"text": "qwen3 4b"}, ("weights", "cache")),
    ("plan", {"text": "qwen3-8b", "concurrency": 16}, ("cost", "doubled")),
    ("lab", {"concurrency": 16}, ("floor", "largest")),
]


@pytest.mark.parametrize(("page", "query", "names"), ASKED)
def test_an_exercise_is_answered_by_the_figures_of_the_page_and_checked_without_a_script(
    site: AtlasSite, page: str, query: dict[str, Any], names: tuple[str, ...]
) -> None:
    assert "Right." not in site.read(page, **query).text
    for name in names:
        wrong = site.read(page, **query, **{f"try-{name}": "12345"})
        assert "Not so." in wrong.text
        choices = [attrs["value"] for attrs in wrong.all("input", type="radio", name=f"try-{name}")]
        answers = choices or re.findall(r"= ([\d.,]+) (?:GiB|USD|ms)", wrong.text)
        assert sum("Right." in site.read(page, **query, **{f"try-{name}": each}).text for each in answers) == 1


def test_the_right_answer_follows_what_is_looked_at(site: AtlasSite) -> None:
    small, large = (site.read("atlas", text=text, **{"try-weights": "0"}).text for text in ("qwen3-0.6b", "qwen3-32b"))
    sizes = [float(re.findall(r"= ([\d.]+) GiB", text)[-1]) for text in (small, large)]
    assert sizes[1] > 20 * sizes[0]
