"""The real thing: two versions of SmolLM2-135M, each on a vLLM server of its own, flipped under requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rollback import Asking, Crowd, Produced, produce, rollback, stop
from bench.setting import setting_of
from engine.base.files import read_json
from engine.generate.server_control import ServerAddress, load_merged

pytestmark = [pytest.mark.model, pytest.mark.alone]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Produced]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).resolve().parents[2])
        made = produce(tmp_path_factory.mktemp("real"))
        yield made
        stop(made.workspace)


def test_a_drill_and_a_rollback_under_requests_take_seconds_and_fail_none(made: Produced) -> None:
    asking = Asking(made)
    assert asking.ask() == (200, made.serving)
    with Crowd(asking, 4) as crowd:
        cold, warm = rollback(made, drill=True), rollback(made, drill=True)
        changed_behind(made)
        mended = rollback(made)
    assert crowd.failed == 0
    assert crowd.versions == {made.before, made.serving}
    assert [page["warm"] for page in (cold, warm, mended)] == [False, True, False]
    assert {page["proof"] for page in (cold, warm, mended)} == {"match"}
    assert max(warm["seconds"], warm["back_seconds"], cold["back_seconds"]) < 5
    assert asking.ask() == (200, made.before)


def changed_behind(made: Produced) -> None:
    """The base's weights, loaded into the server that is kept ready with the version before."""
    (path,) = made.workspace.servers.glob(f"*-serve-{made.before.removeprefix('v-')}/server.json")
    record = read_json(path)
    load_merged(ServerAddress(record["port"], record["api_key"], record["served_name"]), setting_of("travel").base.directory)
