"""The gateway: HTTP in, preference pairs out. `python -m service` runs it.

Promises: what it answers 202 for survives a crash of every process; it decides nothing about a pair's worth; no answer
quotes an internal path, address or stack. It admits images (`images`, `fields`, `admission`), has their two answers
made by one vLLM replica (`pairer`, `mllm`) with the adapter that was asked for (`adapters`), whichever of them is there
(`watch`, `replica`, `places`) and least busy (`turns`, `choice`), and shows and exports what the verifier made of them
(`reading`, `export`, `page/`).

May import `pairs`. Must not know torch, the verifier, or how vLLM pairs its decoding: it meets them over HTTP, on the
queue and in the store.
"""
