"""The answer cache: what it returns, what it never keeps, and what a crash leaves of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.generate.cache import AnswerCache, answer_all
from engine.generate.types import Answer, FingerprintReport, GeneratorIdentity, Request, request_digest
from tests.generate.helpers import Collected, questions

IDENTITY = GeneratorIdentity(engine="test 1", base="b", weights="w", chat_template="", served_as="base")


class Counting:
    """A generator that counts what it is asked, and fails where it is told to."""

    def __init__(self, failing: Sequence[str] = (), identity: GeneratorIdentity = IDENTITY) -> None:
        self.asked: list[str] = []
        self.failing = set(failing)
        self.identity = identity

    def prove(self) -> FingerprintReport:
        return FingerprintReport(verdict="unproved")

    def answer(self, requests: Sequence[Request], on_answer: Callable[[Answer], None]) -> None:
        for request in requests:
            self.asked.append(request.key)
            failed = request.key in self.failing
            on_answer(Answer(key=request.key, text="" if failed else f"to {request.key}", error="generation_failed: x" if failed else None))

    def close(self) -> None: ...


def run(directory: Path, generator: Counting, requests: list[Request]) -> Collected:
    collected = Collected()
    cache = AnswerCache(directory, generator.identity)
    answer_all(generator, requests, collected, cache)
    cache.close()
    return collected


def test_asking_again_does_not_generate_again(tmp_path: Path) -> None:
    requests, generator = questions(5), Counting()
    first = run(tmp_path, generator, requests)
    second = run(tmp_path, generator, requests)
    assert generator.asked == [request.key for request in requests]
    assert {key: answer.text for key, answer in second.answers.items()} == {key: answer.text for key, answer in first.answers.items()}
    assert {answer.cached for answer in second.answers.values()} == {True}


def test_a_scenario_that_was_renamed_is_found_by_its_content(tmp_path: Path) -> None:
    generator = Counting()
    run(tmp_path, generator, questions(2))
    renamed = [request.model_copy(update={"key": f"new-{request.key}"}) for request in questions(2)]
    assert set(run(tmp_path, generator, renamed).answers) == {"new-q0", "new-q1"}
    assert len(generator.asked) == 2


def test_equal_questions_in_one_batch_are_asked_once_and_answered_each(tmp_path: Path) -> None:
    generator = Counting()
    twice = [questions(1)[0], questions(1)[0].model_copy(update={"key": "again"})]
    collected = run(tmp_path, generator, twice)
    assert generator.asked == ["q0"]
    assert collected.complete(twice)


def test_other_settings_other_weights_or_another_engine_are_another_answer(tmp_path: Path) -> None:
    generator = Counting()
    run(tmp_path, generator, questions(1))
    request = questions(1)[0]
    hotter = request.model_copy(update={"settings": request.settings.model_copy(update={"temperature": 0.7})})
    run(tmp_path, generator, [hotter])
    for change in ({"weights": "x"}, {"engine": "test 2"}, {"served_as": "merged"}, {"chat_template": "t"}):
        other = Counting(identity=IDENTITY.model_copy(update=change))
        run(tmp_path, other, [request])
        assert other.asked == ["q0"]
    assert generator.asked == ["q0", "q0"]


def test_an_infrastructure_error_is_reported_and_asked_again_next_time(tmp_path: Path) -> None:
    requests = questions(3)
    first = run(tmp_path, Counting(failing=["q1"]), requests)
    assert first.answers["q1"].error == "generation_failed: x"
    again = Counting()
    assert run(tmp_path, again, requests).errors == []
    assert again.asked == ["q1"]


def test_a_torn_tail_and_a_damaged_line_cost_one_generation_each(tmp_path: Path) -> None:
    requests = questions(4)
    run(tmp_path, Counting(), requests)
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = lines[1].replace(b"to q0", b"to qX")
    path.write_bytes(b"".join([lines[0], damaged, *lines[2:-1]]) + lines[-1][:20])
    generator = Counting()
    assert run(tmp_path, generator, requests).answers["q0"].text == "to q0"
    assert generator.asked == ["q0", "q3"]
    third = Counting()
    run(tmp_path, third, requests)
    assert third.asked == []


def test_two_processes_may_write_one_cache(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.generate.test_cache import Counting, run\n"
        "from tests.generate.helpers import questions\n"
        f"run(Path({str(tmp_path)!r}), Counting(), questions(300, prefix=sys.argv[1]))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, prefix]) for prefix in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    generator = Counting()
    both = questions(300, prefix="a") + questions(300, prefix="b")
    assert run(tmp_path, generator, both).complete(both)
    assert generator.asked == []


def test_what_was_answered_before_a_failure_is_kept(tmp_path: Path) -> None:
    class Breaking(Counting):
        def answer(self, requests: Sequence[Request], on_answer: Callable[[Answer], None]) -> None:
            super().answer(requests[:2], on_answer)
            raise RuntimeError("gone")

    requests = questions(4)
    try:
        run(tmp_path, Breaking(), requests)
    except RuntimeError:
        generator = Counting()
        run(tmp_path, generator, requests)
        assert generator.asked == ["q2", "q3"]


def test_the_file_is_readable_by_a_person(tmp_path: Path) -> None:
    (request,) = questions(1)
    run(tmp_path, Counting(), [request])
    (path,) = tmp_path.glob("*.jsonl")
    record = json.loads(path.read_bytes().strip()[9:])
    assert record["request"] == request_digest(request)
    assert record["answer"]["text"] == "to q0"
