"""The GPU processes: `workers.mllm` (vLLM with paired decoding) and `workers.clip` (the verifier)."""
