"""The verifier: which of two answers fits the image, asked of a small contrastive encoder and of nothing larger.

Promises: every candidate on the queue becomes one pair in the store (kept, swapped or discarded, with a reason) or a
dead letter with a reason; a pair rests in the store before its candidate is acknowledged; a candidate that cannot be
verified harms no other. Runs as `python -m workers.clip`.

May import `pairs`, open_clip and torch. Must not know the gateway, vLLM, the trainer or
the demo world: it meets them on the queue, in the store and among the images.
"""
