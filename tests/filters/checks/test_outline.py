import pytest

from blocks.filters.checks.faq import faq
from blocks.filters.checks.outline import lines_of
from tests.conftest import cpu_limit


def headings(text: str) -> list[str]:
    return [line.text for line in lines_of(text) if line.kind == "heading"]


@pytest.mark.parametrize(
    "line", ["```npm init -y```", "  ```npm init -y```  ", "````npm```", "```a`", "``` `` ```", "```` ``` ````"]
)
def test_code_on_one_line_opens_no_fence(line):
    assert headings(f"# A\n{line}\n# B") == ["A", "B"]
    # Nor does it close one.
    assert headings(f"# A\n```\n{line}\n# code\n```\n# B") == ["A", "B"]


@pytest.mark.parametrize("opening", ["```", "```python", "``` python 3", "~~~", "~~~ a ` b ```", "  ```", "````"])
def test_fences_hide_headings(opening):
    closing = opening.strip()[:3]
    assert headings(f"# A\n{opening}\n# code\n{closing}\n# B") == ["A", "B"]
    assert headings(f"# A\n{opening}\n# code\n# B") == ["A"]  # it was never closed


def test_a_faq_may_hold_code_on_one_line():
    text = "**Q: How do I get it?**\n\nA: Run this.\n\n```pip install finetool```\n\n**Q: What is it?**\n\nA: A tool."
    assert faq(text)[0] == ("faq", 2, True, "")
    assert faq(text.replace("```\n", "\n"))[0].value == 1


@pytest.mark.parametrize("unit", ["`", "```", "```\n", "```a", "~", "\t", "``` `\n", "`\n"])
def test_hostile(unit):
    with cpu_limit():
        list(lines_of(unit * (1_000_000 // len(unit))))
