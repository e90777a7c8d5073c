"""Sample the `travel` and `support` domains' rows from the public sets they come from.

    python scripts/sample_domains.py --sgd DIR --banking DIR --out DIR

DIR are the folders of the Schema-Guided Dialogue travel subset (train/dev/test.jsonl) and of banking77 (train/test.jsonl).
Writes OUT/travel/data and OUT/support/data, each with train.jsonl, eval.jsonl and PROVENANCE.json, and a NOTICE.txt; the canaries at the end of the
shipped eval.jsonl come from scripts/plant_canaries.py, run after this.
Standard library only and deterministic: the order is that of a hash of each row's id, never of a random generator.

Travel: one row is a user's turn given the system's turn before it; the target is the turn's dialogue acts and slots.
Changes made to SGD, all of them in this file: one slot vocabulary for all services (SGD names the same slot differently in
each service, which a turn alone does not decide); a slot's value is the text the user said where SGD marks it, else SGD's
canonical categorical value (counts as digits); a slot the user asks about has the value "?"; act names in lower case.

No eval row is a near-duplicate of a train row or of another eval row (see `near_duplicate_filter`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

TRAIN_TRAVEL, EVAL_TRAVEL = 480, 480  # at most: fewer slotted turns may be left for evaluation
SEEN_TRAVEL = 800           # evaluation candidates that were looked at while the recipe was found; none of them ships
TRAIN_SUPPORT, EVAL_SUPPORT = 2002, 800
SLOTLESS_SHARE = 0.25       # of the travel rows: turns such as "Yes, that's right." carry no slot
NGRAM, NEAR = 5, 0.8

# SGD slot -> canonical slot. One name per meaning, whatever the service calls it.
SLOTS = {
    "origin": "origin_city origin from_location from_city from",
    "destination": "destination_city destination to_location to_city to",
    "city": "where_to location city pickup_city",
    "depart_date": "departure_date leaving_date date_of_journey",
    "return_date": "return_date",
    "check_in_date": "check_in_date",
    "check_out_date": "check_out_date",
    "pickup_date": "pickup_date start_date",
    "dropoff_date": "dropoff_date end_date",
    "pickup_time": "pickup_time",
    "depart_time": "outbound_departure_time leaving_time departure_time",
    "return_time": "inbound_departure_time",
    "people": "passengers travelers group_size number_of_adults num_passengers number_of_tickets",
    "rooms": "number_of_rooms",
    "nights": "number_of_days stay_length",
    "fare_class": "seating_class flight_class class fare_type",
    "airline": "airlines",
    "car_type": "car_type type",
    "hotel_name": "hotel_name",
    "rating": "rating average_rating",
    "stars": "star_rating",
    "category": "category",
    "refundable": "refundable",
    "wifi": "has_wifi",
    "laundry": "has_laundry_service",
    "pets": "pets_welcome",
    "smoking": "smoking_allowed",
    "kids": "good_for_kids",
    "free_entry": "free_entry",
    "insurance": "add_insurance trip_protection",
    "bags": "number_checked_bags additional_luggage",
    "address": "address street_address",
    "phone": "phone_number",
    "price": "price price_per_day price_per_night total_price fare",
    "arrival_time": "outbound_arrival_time",
    "return_arrival_time": "inbound_arrival_time",
    "overnight": "is_redeye arrives_next_day",
    "stops": "number_stops",
    "origin_station": "from_station origin_station_name",
    "destination_station": "to_station destination_station_name",
    "origin_airport": "origin_airport origin_airport_name",
    "destination_airport": "destination_airport destination_airport_name",
}
CANONICAL = {sgd: name for name, line in SLOTS.items() for sgd in line.split()}
# The exceptions: the same SGD name with another meaning in one service.
EXCEPTIONS = {
    ("Hotels_1", "destination"): "city",            # the city of the hotel
    ("Flights_4", "origin_airport"): "origin",      # informed as a city
    ("Flights_4", "destination_airport"): "destination",
}
VALUES = {"True": "yes", "False": "no", "dontcare": "any"}
# Counts are digits, whether SGD gives the said words ("four days") or its own value ("4").
COUNTS = {"people", "rooms", "nights", "stars", "bags"}
NUMBERS = {word: str(n) for n, word in enumerate(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"])}


# --- shared ---------------------------------------------------------------------------------------------------

def read_jsonl(path: Path) -> list[Row]:
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def write_jsonl(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def digest(data: str | bytes) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


def shuffled(rows: list[Row]) -> list[Row]:
    """The rows in an order that depends on their ids alone."""
    return sorted(rows, key=lambda row: digest("modelsmith:" + row["id"]))


def folded(text: str) -> str:
    """Lower case, every run of digits one 0, everything else that is not a letter one space."""
    text = re.sub(r"\d+", "0", text.lower())
    return re.sub(r"[^a-z0]+", " ", text).strip()


def grams(text: str) -> frozenset[str]:
    text = folded(text)
    return frozenset(text[i:i + NGRAM] for i in range(max(1, len(text) - NGRAM + 1)))


def input_text(row: Row) -> str:
    return " ".join(row["input"].values())


class NearDuplicates:
    """A growing set of texts that tells whether a new one is a near-duplicate of any (Jaccard of 5-grams >= 0.8)."""

    def __init__(self) -> None:
        self.sets: list[frozenset[str]] = []
        self.holders: dict[str, list[int]] = {}

    def add(self, text: str) -> None:
        new = grams(text)
        for gram in new:
            self.holders.setdefault(gram, []).append(len(self.sets))
        self.sets.append(new)

    def has(self, text: str) -> bool:
        new = grams(text)
        shared: dict[int, int] = {}
        for gram in new:
            for i in self.holders.get(gram, ()):
                shared[i] = shared.get(i, 0) + 1
        return any(n / (len(new) + len(self.sets[i]) - n) >= NEAR for i, n in shared.items())


def near_duplicate_filter(train: list[Row], candidates: list[Row]) -> tuple[list[Row], Row]:
    """The candidates that near-duplicate neither a train row nor an earlier kept candidate, and how many were dropped."""
    in_train, in_eval = NearDuplicates(), NearDuplicates()
    for row in train:
        in_train.add(input_text(row))
    kept, of_train, of_eval = [], 0, 0
    for row in candidates:
        text = input_text(row)
        if in_train.has(text):
            of_train += 1
        elif in_eval.has(text):
            of_eval += 1
        else:
            in_eval.add(text)
            kept.append(row)
    return kept, {"candidates": len(candidates), "near_duplicates_of_train": of_train,
                  "near_duplicates_of_earlier_eval": of_eval, "kept": len(kept)}


def without_repeats(rows: list[Row]) -> list[Row]:
    seen, kept = set(), []
    for row in rows:
        key = folded(input_text(row))
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


# --- travel ---------------------------------------------------------------------------------------------------

def canonical(service: str, slot: str, asked: bool) -> str:
    if not asked and (service, slot) in EXCEPTIONS:
        return EXCEPTIONS[service, slot]
    return CANONICAL[slot]


def slot_value(name: str, value: str) -> str:
    value = VALUES.get(value, value)
    return NUMBERS.get(value.lower(), value) if name in COUNTS else value


def travel_target(text: str, frame: Row) -> Row:
    """{"acts": sorted names, "slots": {canonical slot: value}}: told slots in the order said, then the asked ones."""
    spans = {slot: (start, text[start:end]) for slot, start, end in frame.get("spans", [])}
    told, asked = [], []
    for act, slot, values in frame["acts"]:
        if act == "INFORM":
            name = canonical(frame["service"], slot, False)
            start, value = spans.get(slot, (len(text), values[0]))
            told.append((start, name, slot_value(name, value)))
        elif act == "REQUEST":
            asked.append(canonical(frame["service"], slot, True))
    slots = {name: value for _, name, value in sorted(told)}
    slots.update({name: "?" for name in sorted(asked) if name not in slots})
    return {"acts": sorted({act.lower() for act, _, _ in frame["acts"]}), "slots": slots}


def travel_rows(dialogues: list[Row], trained_services: set[str]) -> list[Row]:
    rows = []
    for dialogue in dialogues:
        before = ""
        for number, turn in enumerate(dialogue["turns"]):
            if turn["speaker"] == "USER" and len(turn["frames"]) == 1:
                frame = turn["frames"][0]
                rows.append({
                    "id": f"sgd-{dialogue['id']}-{number:02d}",
                    "input": {"system": before, "user": turn["text"]},
                    "expected": travel_target(turn["text"], frame),
                    "tags": {"service": frame["service"], "kind": frame["service"].split("_")[0].lower(),
                             "seen": "seen" if frame["service"] in trained_services else "unseen",
                             "split": dialogue["split"]},
                    "source": dialogue["id"]})
            before = turn["text"]
    return rows


def with_slot_share(rows: list[Row], count: int) -> list[Row]:
    """The first rows, at most SLOTLESS_SHARE of them without slots; any part of the result has about that share."""
    slotless_left = int(count * SLOTLESS_SHARE)
    slotted_left = count - slotless_left
    kept = []
    for row in rows:
        if row["expected"]["slots"]:
            if slotted_left:
                kept.append(row)
                slotted_left -= 1
        elif slotless_left:
            kept.append(row)
            slotless_left -= 1
    return sorted(kept, key=lambda row: digest("order:" + row["id"]))


def sample_travel(sgd: Path, out: Path) -> Row:
    dialogues = {split: read_jsonl(sgd / f"{split}.jsonl") for split in ("train", "dev", "test")}
    services = {service for d in dialogues["train"] for service in d["services"]}
    pool = without_repeats(shuffled(travel_rows(dialogues["train"], services)))
    train = with_slot_share(pool, TRAIN_TRAVEL)
    candidates = shuffled(travel_rows(dialogues["dev"] + dialogues["test"], services))
    kept, dropped = near_duplicate_filter(train, candidates)
    seen = {row["id"] for row in with_slot_share(kept, SEEN_TRAVEL)}
    held = with_slot_share([row for row in kept if row["id"] not in seen], EVAL_TRAVEL)
    write_jsonl(out / "train.jsonl", train)
    write_jsonl(out / "eval.jsonl", held)
    notice(out, TRAVEL_NOTICE)
    return {"train_pool": len(pool), "eval_filter": dropped}


TRAVEL_NOTICE = """\
The rows in this folder are taken from the Schema-Guided Dialogue dataset (SGD, "DSTC8"), (c) Google LLC,
https://github.com/google-research-datasets/dstc8-schema-guided-dialogue, and are licensed under the
Creative Commons Attribution-ShareAlike 4.0 International licence (CC BY-SA 4.0),
https://creativecommons.org/licenses/by-sa/4.0/. Share-alike: this folder, and what is adapted from it, stays under
that licence; the code around it has its own.
Changes made: a sample of single-service travel dialogues cut into single user turns; one slot vocabulary for all
services; values as the user said them, counts as digits; the slots a user asks about marked "?" (scripts/sample_domains.py). The rows of
eval.jsonl with "canary": true are variants of others there, with typos and with an answer that is another row's, wrong on purpose
(scripts/plant_canaries.py). These two scripts are the whole change.
Rastogi et al., "Towards Scalable Multi-domain Conversational Agents: The Schema-Guided Dialogue Dataset", AAAI 2020.
"""


# --- support --------------------------------------------------------------------------------------------------

def support_rows(rows: list[Row]) -> list[Row]:
    return [{"id": row["id"], "input": {"message": row["text"]}, "expected": {"intent": row["intent"]},
             "tags": {"intent": row["intent"]}, "source": row["id"]} for row in rows]


def stratified(rows: list[Row], count: int) -> list[Row]:
    """`count` rows, taking one of each intent in turn, in the order given."""
    by_intent: dict[str, list[Row]] = {}
    for row in rows:
        by_intent.setdefault(row["expected"]["intent"], []).append(row)
    taken: list[Row] = []
    depth = 0
    while len(taken) < min(count, len(rows)):
        taken += [by_intent[name][depth] for name in sorted(by_intent) if depth < len(by_intent[name])]
        depth += 1
    return shuffled(taken[:count])


def sample_support(banking: Path, out: Path) -> Row:
    pool = without_repeats(shuffled(support_rows(read_jsonl(banking / "train.jsonl"))))
    train = stratified(pool, TRAIN_SUPPORT)
    kept, dropped = near_duplicate_filter(train, shuffled(support_rows(read_jsonl(banking / "test.jsonl"))))
    write_jsonl(out / "train.jsonl", train)
    write_jsonl(out / "eval.jsonl", stratified(kept, EVAL_SUPPORT))
    notice(out, SUPPORT_NOTICE)
    return {"train_pool": len(pool), "eval_filter": dropped}


SUPPORT_NOTICE = """\
The rows in this folder are taken from banking77 (PolyAI Limited),
https://github.com/PolyAI-LDN/task-specific-datasets, licensed under the Creative Commons Attribution 4.0
International licence (CC BY 4.0), https://creativecommons.org/licenses/by/4.0/.
Changes made: a stratified sample, reshaped to one JSON object a row; near-duplicates removed from the eval rows. The rows of
eval.jsonl with "canary": true are variants of others there, with typos and with an answer that is another row's, wrong on purpose.
Casanueva et al., "Efficient Intent Detection with Dual Sentence Encoders", 2020.
"""


# --- provenance -----------------------------------------------------------------------------------------------

def notice(out: Path, text: str) -> None:
    (out / "NOTICE.txt").write_text(text, encoding="utf-8", newline="\n")


def counted(rows: list[Row]) -> Row:
    counts: dict[str, Row] = {}
    for row in rows:
        tags = dict(row["tags"], **({"acts": "+".join(row["expected"]["acts"])} if "acts" in row["expected"] else {}))
        for key, value in tags.items():
            counts.setdefault(key, {})
            counts[key][value] = counts[key].get(value, 0) + 1
    return {"rows": len(rows), "sources": len({row["source"] for row in rows}),
            **{key: Row(sorted(values.items())) for key, values in sorted(counts.items())}}


def write_provenance(name: str, src: Path, out: Path, used: list[str], facts: Row) -> None:
    upstream = json.loads((src / "PROVENANCE.json").read_text(encoding="utf-8"))
    document = {
        "domain": name, "licence": upstream["licence"], "notice": "NOTICE.txt", "sources": upstream["sources"],
        "upstream_processing": upstream["processing"],
        "processing": "scripts/sample_domains.py; see its first lines and NOTICE.txt",
        "near_duplicates": f"folded text (lower case, digit runs to 0, no punctuation), Jaccard of character "
                           f"{NGRAM}-grams >= {NEAR}, against every train row and every earlier eval row",
        **facts,
        "train": counted(read_jsonl(out / "train.jsonl")), "eval": counted(read_jsonl(out / "eval.jsonl")),
        "inputs": {f: digest((src / f).read_bytes()) for f in used},
        "files": {f: digest((out / f).read_bytes()) for f in ("train.jsonl", "eval.jsonl", "NOTICE.txt")},
    }
    (out / "PROVENANCE.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8", newline="\n")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name in ("sgd", "banking", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args(argv)
    for domain, sample, src, used in (
            ("travel", sample_travel, args.sgd, ["train.jsonl", "dev.jsonl", "test.jsonl"]),
            ("support", sample_support, args.banking, ["train.jsonl", "test.jsonl"])):
        out = args.out / domain / "data"
        out.mkdir(parents=True, exist_ok=True)
        facts = sample(src, out)
        write_provenance(domain, src, out, used, facts)
        print(domain, json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
