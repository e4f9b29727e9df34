"""From verified pairs to a better model: pin a snapshot, train on it, evaluate, promote.

Promises: training data is named by its contents. A snapshot says which pairs were asked for, how many there are and
the hash of what they say; a data set is made of exactly those, or not at all. Here is the snapshot reader (`python -m
trainer snapshot`).

May import `pairs`, and the training stack (datasets, TRL, PEFT). Must not know the gateway, the workers or the demo
world: it reads the store, or a file that was exported from it.
"""
