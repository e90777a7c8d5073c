"""What memory, time and money a model takes on an accelerator, as pure functions of arrays.

    arrays.py       models, accelerators and workloads as columns that broadcast: one formula answers one question or a whole grid
    quantisations.py  what a number type costs in bits, and which units compute it
    memory.py       weights, caches, what fits
    speed.py        a step of decoding, a prompt, latency and throughput under concurrency
    training.py     memory and time of fine-tuning
    cost.py         money
    textbook.py     the simple formulas that one finds everywhere, to be compared with

Units: bytes, seconds, operations, tokens, USD; a name says so where it is another. What no source gives is NaN and stays NaN: a figure that rests on
it is unknown, never zero. Constants that were fitted come in as arguments (`engine/atlas/calibration.py` has them, with their errors).
"""
