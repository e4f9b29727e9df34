"""Improvement in rounds: the policy makes pairs, is trained on them, evaluated, and promoted if it got better.

Promises: the state of a run is in the store and is written at every step, each step may be repeated, so a run that was
killed anywhere goes on. Pairs are made through the gateway like anybody's, training and evaluation are programs of the
trainer's room; what decides (`gate`, `watch`) is a pure function of what they report.
"""
