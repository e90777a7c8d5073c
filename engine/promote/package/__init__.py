"""An accepted version as a folder that can be handed over: its forms, each replayed before it goes in, its card, its evidence and its signatures."""
