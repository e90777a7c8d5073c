"""Which model, on which hardware, at what cost: a catalogue of open models and accelerators, and what physics says of each pair."""
