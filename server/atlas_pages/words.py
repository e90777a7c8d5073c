"""What the fields of the forms are called, and why each matters: what an engineer who decides by it should know.

One entry for each argument of `search_models`, `plan_deployment` and `triage_tuning` that a form asks for; those of `physics_lab` stand in
`lab_words.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Words(NamedTuple):
    """A field in words."""

    name: str
    """The argument's."""
    label: str
    why: str
    anything: str = "any"
    """How it is called that nothing is chosen."""
    parts: tuple[str, ...] = ()
    """For a list of fixed length, what each entry is."""
    called: Mapping[str, str] = {}
    """Values that are called otherwise than they are written."""


class Group(NamedTuple):
    """Fields that belong together."""

    title: str
    words: tuple[Words, ...]


PROMPT = Words(
    "prompt_tokens",
    "Prompt tokens of a request",
    "Reading a prompt is bound by arithmetic, and sets the time to the first token. What was read stays in the cache until the answer is complete, "
    "so long prompts also take memory. Take the mean of your logs, system prompt included.",
)
ANSWER = Words(
    "answer_tokens",
    "Answer tokens of a request",
    "Each answer token needs a pass over the weights, so answers usually take most of a request's time. A label of 10 tokens and a report of 1,000 "
    "are two different deployments.",
)
CONCURRENCY = Words(
    "concurrency",
    "Requests in flight",
    "Requests in flight share each pass over the weights: throughput rises and a token gets cheaper, while each user waits longer and the caches "
    "take more memory. It is arrivals a second times the seconds that a request takes (Little's law), not the number of users.",
)
TASK = Words(
    "task",
    "Meant for",
    "What its makers say the model is meant for. It is a label and no benchmark score: measure two or three candidates on rows of your own before "
    "you choose.",
)

SEARCH = (
    Group(
        "The model",
        (
            Words(
                "text",
                "Name or family",
                "Every word has to occur in the name or the family, so qwen3 4b finds less than qwen3. Models of one family often differ in "
                "licence, longest context and attention, so look at each.",
            ),
            TASK,
            Words(
                "licence",
                "Licence",
                "permissive keeps licences that ask for little more than naming the authors (Apache-2.0, MIT, BSD, CC BY). Others may forbid "
                "business, or bind what you train from the model. The tag of a model card is no legal advice.",
            ),
            Words(
                "architecture",
                "Architecture",
                "A mixture of experts (moe) keeps all its parameters in memory but multiplies only some for each token: quick for its size, large "
                "for its speed. Hybrid models keep a state of constant size in some layers, so long contexts take them less memory.",
                called={"moe": "mixture of experts (moe)", "hybrid": "hybrid: some layers keep a state"},
            ),
            Words(
                "language",
                "Language (ISO 639 code)",
                "An entry names languages only where its model card was read for them, which few were. This leaves out every model of which nothing "
                "is known, good ones among them.",
            ),
            Words(
                "min_parameters_billion",
                "At least, billion parameters",
                "Larger models do more on the whole, but one that is trained for a single workflow often does as well as one ten times its size. "
                "Start below what you think you need.",
            ),
            Words(
                "max_parameters_billion",
                "At most, billion parameters",
                "Memory for weights grows in proportion: 2 GB for each billion in 16 bits, a little over 0.5 in 4 bits. With few requests in flight "
                "the time of a token grows in proportion too, by the active parameters.",
            ),
            Words(
                "min_context_tokens",
                "Context of at least, tokens",
                "Prompt and answer together must stay below it. Answers tend to get worse long before the end of the context that a card names, so "
                "ask for about twice what you need.",
            ),
        ),
    ),
    Group(
        "Where it runs",
        (
            Words(
                "accelerator",
                "Accelerator",
                "Its memory decides what fits. Its bandwidth decides how fast tokens come with few requests in flight, its arithmetic how fast "
                "prompts are read and where throughput ends.",
                "none yet",
            ),
            Words(
                "count",
                "Accelerators for one copy",
                "Splitting a model divides its weights and, as far as it has key and value heads, its caches. The cards wait for one another twice "
                "a layer, so two are less than twice as fast; two copies on one card each often serve more.",
            ),
            Words(
                "quantisation",
                "Weights held in",
                "Fewer bits take less memory and decode faster, since a step reads the weights. Quality can suffer, most in 4 bits and in small "
                "models, so evaluate the quantised model and not the original.",
            ),
            Words(
                "fits",
                "Only models that fit",
                "Leaves out what does not fit at the large end of the memory's interval. What fits by its middle value alone may fail when the "
                "server starts, or under its full load.",
            ),
        ),
    ),
    Group(
        "The load",
        (
            PROMPT,
            ANSWER,
            CONCURRENCY,
            Words(
                "order",
                "Order",
                "Smallest first is the order in which to try: the first that passes your evaluation is the one that is cheapest to serve. A later "
                "release is usually better at the same size.",
                called={"parameters": "smallest first", "release": "newest first", "context": "longest context first"},
            ),
        ),
    ),
)

PLAN = (
    Group(
        "What it must do",
        (
            TASK,
            Words(
                "text",
                "Only models whose name holds",
                "Keeps the plan to models that you have evaluated, or to a family that your team knows. Empty lets the whole catalogue compete.",
            ),
            Words(
                "permissive",
                "Only permissive licences",
                "Some open weights may not serve a business, or ask for conditions to be passed on to your users. It is cheap to leave those out "
                "now, and dear after training.",
            ),
            PROMPT,
            ANSWER,
            CONCURRENCY,
        ),
    ),
    Group(
        "How fast",
        (
            Words(
                "tpot_ms",
                "Most milliseconds between tokens",
                "People read 5 to 8 tokens a second, so 100 ms is enough for a chat that is read while it is written; a program that waits for the "
                "whole answer needs less. It is what a larger batch makes worse.",
            ),
            Words(
                "ttft_ms",
                "Most milliseconds to the first token",
                "What a person feels as the delay before anything happens. It grows with the prompt, and with the prompts of others that are read "
                "before; estimates of it are the least certain ones, so leave room.",
            ),
        ),
    ),
    Group(
        "On what, for how much",
        (
            Words(
                "usd_per_hour",
                "Most USD an hour",
                "The hour of all cards of one copy, whether they are busy or not. A busy hour on a dear card is often cheaper for each token than "
                "an idle one on a cheap card.",
            ),
            Words(
                "own",
                "Hardware on hand",
                "Written as 2 x RTX 4090. It counts as free here; your power and your people are not in it.",
            ),
            Words(
                "rent",
                "Hardware may be rented",
                "No keeps requests on what is on hand, for instance because the data may not leave. Then only cards named above come into question.",
            ),
            Words(
                "quantisations",
                "Weights may be held in",
                "bf16 as most models are published, fp8 made by vLLM while it loads them, mxfp4 where a model is published so. int4 halves memory "
                "again but needs a checkpoint that somebody made, and an evaluation of that very checkpoint.",
            ),
            Words(
                "max_cards",
                "Most cards for one copy",
                "Cards of one copy must sit in one machine with a fast link. One that needs eight cards is also down as a whole when one of them "
                "fails.",
            ),
        ),
    ),
    Group(
        "What counts",
        (
            Words(
                "weights",
                "Points for each term",
                "The ranking is only as good as these. If the order changes when you move one of them a little, the first few are equal for your "
                "purpose: decide between them by an evaluation.",
                parts=("task", "context", "latency", "memory", "licence", "margin"),
            ),
        ),
    ),
)

EXPORT = (
    Words(
        "configuration",
        "Configuration",
        "The score orders them; whether a model does your task is for an evaluation to say. Export two and measure both.",
        "the first",
    ),
    Words(
        "export",
        "As",
        "vllm is a file for vllm serve --config, compose and kubernetes start its container, profile is what onboard_model takes, report is for "
        "people.",
        "nothing yet",
    ),
    Words(
        "revision",
        "Commit or tag of the weights",
        "A repository's main branch can change under you. A pinned commit makes what you evaluated and what you serve the same bytes; a profile "
        "asks for one.",
    ),
    Words(
        "checkpoint",
        "Repository with quantised weights",
        "int4 needs a checkpoint that somebody has quantised. It is another model than the original, so look at who made it and evaluate it.",
    ),
)

TRIAGE = (
    Group(
        "A cluster that was measured",
        (
            Words(
                "cluster",
                "Cluster",
                "Its measurements answer: floor, base, schema, examples, other models and the accepted version on the same suite. Rules only say "
                "what is usual; your own figures say what is true of your task.",
                anything="none yet: answer from rules",
            ),
        ),
    ),
    Group(
        "Without one",
        (
            Words(
                "need",
                "What is wrong with the answers",
                "Each kind of fault has its own cheapest remedy: form is held by a schema, facts are looked up, style is shown by examples. Training "
                "is the dearest of them, and for facts that change the wrong one.",
                anything="not known",
                called={
                    "format": "their form",
                    "labels": "the wrong label or field",
                    "facts": "facts are wrong or missing",
                    "style": "tone and style",
                    "reasoning": "conclusions",
                    "speed": "too slow or too dear",
                },
            ),
            Words(
                "labelled_rows",
                "Labelled rows that there are",
                "The first hundred go into evaluation: without them nobody can tell better from worse. What is left is what a model learns from.",
            ),
            Words(
                "facts_change",
                "What is true changes between trainings",
                "Prices, stock, policies: trained in they are out of date the next day, and nothing in an answer shows it.",
            ),
        ),
    ),
)
