"""What a step of the logits processor is made of: as many operations for many twins as for one, and no waiting."""

from benchmarks.processor_share import growth, operations


def test_a_step_is_the_same_operations_for_few_twins_and_for_many_and_waits_for_none() -> None:
    found = operations()
    for way in ("greedy", "drawn"):
        few, *more = found[f"{way}_operations"].values()
        assert set(more) == {more[0]}
        assert few <= more[0] + 2, "one twin may broadcast"
    assert found["operations_that_wait"] == []


def test_a_step_holds_on_to_nothing() -> None:
    """What other threads of the test's process allocate meanwhile is not in every measurement."""
    found = min(growth(steps=400, twins=8, vocab=64)["python_bytes_per_step"] for _ in range(3))
    assert found < 12  # 8 are vLLM's own list of tokens
