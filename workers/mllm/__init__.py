"""vLLM with paired decoding: two contexts, with and without the image, one token stream, blended at each step.

`python -m workers.mllm --model DIR_OR_NAME` starts an unmodified vLLM whose scheduler and logits processor are ours.
The room talks to nobody but vLLM; clients meet it over HTTP and never import it.

**What a client sends.** A twin pair is two ordinary chat completions to the same replica, sent at about the same
time. Both carry `vllm_xargs` with the same id and ratio:

    {"model": ..., "messages": [{"role": "user", "content": [{"type": "image_url", ...}, {"type": "text", ...}]}],
     "temperature": 0, "max_tokens": 128,
     "vllm_xargs": {"judgefree_twin": "any unique text", "judgefree_role": "grounded", "judgefree_ratio": 0.6}}

and the same without the image part, role `blind`. At every step both sample one token from
`(1 - ratio) * grounded + ratio * blind`. `temperature`, `top_p`, `top_k`, `min_p`, `seed`, `stop` and
`max_tokens` work and must be equal in both; send `max_tokens`, since what vLLM fills in depends on the prompt's length.
The same seed gives the same text; without a seed the twin id takes its place. `logprobs` are each member's own,
before the blend. Requests without the three keys are untouched.

**What comes back.** Two ordinary answers with the same text. When something is wrong:

- HTTP 400, at once: a key missing or malformed, an unknown role, a ratio outside [-2, 2], `n` above 1, or a parameter
  that paired decoding does not take (penalties, `logit_bias`, `min_tokens`, `bad_words`, `allowed_token_ids`,
  structured output, a thinking budget); the message names it.
- HTTP 200 with `finish_reason` "abort" and the reason as a sentence in `stop_reason`: the twin did not arrive within
  `JUDGEFREE_TWIN_WAIT_S` (30 s), was cancelled or failed; the twins disagree (ratio, parameters, adapter); the id has
  two members of one role already; the KV cache holds one but not both. The text so far is not a result.
- On a CPU alone, the same for an ordinary sampled request with a seed whose prompt is longer than one step: vLLM's
  engine would end over it.
"""
