"""Ablation: what each part of the method is worth, one factor changed at a time, at equal pair counts and steps.

Promises: pairs are made through the gateway like anybody's, training and evaluation are programs of the trainer's room.
What is done is written down as files, so a run that was killed anywhere goes on and does nothing twice. What is
compared (`cells`) and what is made of it (`figures`) are pure.
"""
