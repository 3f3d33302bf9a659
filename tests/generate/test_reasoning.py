import pytest

from blocks.generate.reasoning import split_reasoning


@pytest.mark.parametrize(
    ("answer", "text", "reasoning"),
    [
        ("Plain answer.", "Plain answer.", None),
        ("  spaced  ", "  spaced  ", None),
        ("", "", None),
        ("<think>\nHmm.\n</think>\n\nAnswer.", "Answer.", "Hmm."),
        ("\n <think>Hmm.</think>Answer.", "Answer.", "Hmm."),
        ("<think>\n\n</think>\n\nAnswer.", "Answer.", None),
        ("<think>cut off in the mid", "", "cut off in the mid"),
        ("<think>", "", None),
        ("<think>done</think>", "", "done"),
        ("opened by the template\n</think>\nAnswer.", "Answer.", "opened by the template"),
        ("</think>Answer.", "Answer.", None),
        ("<think>a</think>The tag </think> is HTML.", "The tag </think> is HTML.", "a"),
        ("Write <think> and </think> around it.", "Write <think> and </think> around it.", None),
        ("An unclosed <think> later on", "An unclosed <think> later on", None),
        ("<thinking>not ours</thinking>", "<thinking>not ours</thinking>", None),
    ],
)
def test_split_reasoning(answer, text, reasoning):
    assert split_reasoning(answer) == (text, reasoning)


def test_long_hostile_answers_finish():
    for answer in ("<think>" * 200_000, "</think>" * 200_000, "<" * 1_000_000, " " * 1_000_000):
        split_reasoning(answer)
