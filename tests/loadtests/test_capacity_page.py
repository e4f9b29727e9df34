from tools.capacity import PAGE, RESULTS, page


def test_the_page_on_capacity_is_what_the_tool_makes_of_the_result_files() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(RESULTS)
