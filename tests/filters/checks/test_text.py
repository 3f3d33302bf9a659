import random

import pytest

from blocks.filters.checks.text import length, markup, repetition, run_length, words
from tests.conftest import cpu_limit

FAQ = """# Frequently asked questions

**Q: What is a sourdough starter?**
A: It is a mixture of flour and water in which wild yeast and bacteria live. It makes bread rise without bought yeast.

**Q: What is the role of salt?**
A: Salt slows the yeast down and strengthens the dough, so that it keeps its shape in the oven.

**Q: What is the role of steam?**
A: Steam keeps the crust soft during the first minutes, which lets the loaf grow before it browns.

**Q: How long does the dough rest?**
A: It rests four hours in a warm kitchen and up to twelve hours in the fridge.
"""

TABLE = "| Month | Open | Guide | Shop |\n|---|---|---|---|\n" + "".join(
    f"| {month} | yes | no | yes |\n" for month in ("May", "June", "July", "August", "September", "October")
)


def sentence(seed: int, count: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = random.Random(seed)
    return " ".join("".join(made.choices(letters, k=made.randint(3, 8))) for _ in range(count))


def measured(text: str) -> float:
    value = repetition(text)[0].value
    assert value is not None
    return value


def test_words_of_spaced_and_unspaced_scripts() -> None:
    assert words("Don't stop, it’s 5 km!") == ["Don", "t", "stop", "it", "s", "5", "km"]
    assert words("A, b.") == ["A", "b"]
    assert words("茶馆 tea") == ["茶", "馆", "tea"]
    assert words("น้ำ ชา") == ["น้", "ำ", "ช", "า"]
    assert words("प्रश्न_1 नाम") == ["प्रश्न_1", "नाम"]


@pytest.mark.parametrize(("count", "passed"), [(0, False), (19, False), (20, True), (4000, True), (4001, False)])
def test_length_has_bounds(count: int, passed: bool) -> None:
    (measure,) = length("word " * count)
    assert (measure.check, measure.value, measure.passed) == ("length", count, passed)
    assert bool(measure.detail) is not passed


def test_length_relative_to_the_source() -> None:
    assert length("word " * 100, "word " * 10, max_ratio=10)[0].passed
    assert not length("word " * 101, "word " * 10, max_ratio=10)[0].passed
    assert length("word " * 101, "", max_ratio=10)[0].passed
    assert length("word " * 101, "word " * 10)[0].passed


@pytest.mark.parametrize("text", [FAQ, TABLE, sentence(1, 400), "- tea\n- milk\n- bread\n- salt\n" * 2])
def test_texts_that_repeat_by_nature_pass(text: str) -> None:
    assert repetition(text)[0].passed


# FAQs that name their subject again and again, as all do.
UNSPACED_FAQS = {
    "Thai": """# คำถามที่พบบ่อยเกี่ยวกับโรคเบาหวาน

**คำถาม: โรคเบาหวานชนิดที่ 2 คืออะไร?**
คำตอบ: โรคเบาหวานชนิดที่ 2 คือโรคเรื้อรังที่ทำให้ระดับน้ำตาลในเลือดสูงกว่าปกติ เพราะร่างกายใช้อินซูลินได้ไม่ดี

**คำถาม: อาการของโรคเบาหวานชนิดที่ 2 มีอะไรบ้าง?**
คำตอบ: ผู้ป่วยโรคเบาหวานชนิดที่ 2 มักกระหายน้ำ ปัสสาวะบ่อย และอ่อนเพลีย

**คำถาม: ใครมีความเสี่ยงต่อโรคเบาหวานชนิดที่ 2?**
คำตอบ: ผู้ที่มีน้ำหนักเกินและผู้ที่มีคนในครอบครัวเป็นโรคเบาหวานชนิดที่ 2 มีความเสี่ยงสูง

**คำถาม: จะป้องกันโรคเบาหวานชนิดที่ 2 ได้อย่างไร?**
คำตอบ: การออกกำลังกายและการควบคุมระดับน้ำตาลในเลือดช่วยป้องกันโรคเบาหวานชนิดที่ 2 ได้

**คำถาม: โรคเบาหวานชนิดที่ 2 รักษาอย่างไร?**
คำตอบ: แพทย์รักษาโรคเบาหวานชนิดที่ 2 ด้วยยาและการควบคุมระดับน้ำตาลในเลือด
""",
    "Japanese": """# データサイエンティストに関するよくある質問

**Q: データサイエンティストとは何ですか？**
A: データサイエンティストは、データから価値ある知見を引き出す専門家です。

**Q: データサイエンティストになるには何が必要ですか？**
A: データサイエンティストになるには、統計学とプログラミングの知識が必要です。

**Q: データサイエンティストの年収はどのくらいですか？**
A: データサイエンティストの年収は、経験によって大きく変わります。

**Q: データサイエンティストはどこで働きますか？**
A: データサイエンティストは、銀行や病院、工場などで働きます。
""",
    "Chinese": """# 常见问题

**问：什么是《中华人民共和国个人信息保护法》？**
答：《中华人民共和国个人信息保护法》是保护个人信息权益的法律。

**问：《中华人民共和国个人信息保护法》何时施行？**
答：《中华人民共和国个人信息保护法》自2021年11月1日起施行。

**问：《中华人民共和国个人信息保护法》适用于哪些人？**
答：《中华人民共和国个人信息保护法》适用于在境内处理自然人信息的组织和个人。

**问：违反《中华人民共和国个人信息保护法》会怎样？**
答：违反《中华人民共和国个人信息保护法》的，可被没收违法所得并处以罚款。
""",
    "Hindi": """**प्रश्न: टाइप 2 मधुमेह क्या है?**
उत्तर: टाइप 2 मधुमेह एक पुरानी बीमारी है जिसमें रक्त में शर्करा का स्तर बढ़ जाता है।

**प्रश्न: टाइप 2 मधुमेह के लक्षण क्या हैं?**
उत्तर: टाइप 2 मधुमेह के रोगियों को अधिक प्यास लगती है और वे थके रहते हैं।

**प्रश्न: टाइप 2 मधुमेह से बचने के लिए क्या करें?**
उत्तर: टाइप 2 मधुमेह से बचने के लिए रोज़ व्यायाम करें और वज़न कम रखें।
""",
    "Khmer": """ជំងឺទឹកនោមផ្អែមប្រភេទទី២ គឺជាជំងឺរ៉ាំរ៉ៃ។ អ្នកជំងឺទឹកនោមផ្អែមប្រភេទទី២ ឆាប់ស្រេកទឹក។ ការព្យាបាលជំងឺទឹកនោមផ្អែមប្រភេទទី២ ប្រើថ្នាំ។""",
}
SENTENCES = {
    "Thai": "รถไฟหยุดที่สถานีเก่าอีกครั้ง ",
    "Japanese": "電車は古い駅にまた止まります。",
    "Chinese": "火车又停在旧车站。",
    "Khmer": "រថភ្លើងឈប់នៅស្ថានីយ៍ចាស់ម្តងទៀត។",
    "Burmese": "ရထားသည် ဘူတာဟောင်းတွင် ထပ်ရပ်သည်။ ",
    "Hindi": "ट्रेन फिर पुराने स्टेशन पर रुकती है। ",
}


@pytest.mark.parametrize("language", UNSPACED_FAQS)
def test_a_name_that_comes_again_is_no_loop(language: str) -> None:
    assert measured(UNSPACED_FAQS[language]) < 0.15
    (measure,) = repetition(UNSPACED_FAQS[language] * 2)
    assert not measure.passed and measure.detail.startswith("repeated: ")


@pytest.mark.parametrize("language", SENTENCES)
def test_loops_of_all_scripts_are_caught(language: str) -> None:
    for times in (5, 20, 200):
        assert not repetition(SENTENCES[language] * times)[0].passed
    lines = "\n".join(f"{n}. {SENTENCES[language]}" for n in range(1, 20))
    assert not repetition(lines)[0].passed


def test_one_answer_to_all_questions_in_japanese() -> None:
    asked = (
        "何が必要ですか",
        "どこで働きますか",
        "年収はどのくらいですか",
        "なぜ人気がありますか",
        "誰に向いていますか",
    )
    text = "\n".join(
        f"Q: {question}？\nA: それは経験によって変わるので、専門家に相談してください。" for question in asked
    )
    assert not repetition(text)[0].passed


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("a b c", 8),
        ("茶馆很有名", 20),
        ("茶馆 is open to all", 10),
        ("ที่น้ำ", 20),
        ("ជំងឺ", 20),
        ("प्रश्न नाम", 8),
        ("", 8),
        ("่ ้ ็", 8),
    ],
)
def test_runs_of_letters_are_longer(text: str, size: int) -> None:
    assert run_length(words(text), 8) == size


def test_numbers_of_sums_are_not_thrown_away() -> None:
    text = "\n".join(f"{3 * i} + {7 * i} = {10 * i}" for i in range(1, 40))
    assert repetition(text)[0].passed


@pytest.mark.parametrize(
    "text",
    [
        sentence(2, 30) + ". " + "The train then stops at the old station again. " * 20,
        "a b " * 100,
        "again " * 200,
        "The same line stands here.\n" * 40,
        "\n".join(f"{i}. Add a pinch of salt and stir." for i in range(1, 40)),
        "\n".join(f"Step {i}: Repeat step {i - 1}." for i in range(1, 60)),
        "\n".join(f"{i}. Apples" for i in range(1, 60)),
        TABLE + "| May | yes | no | yes |\n" * 20,
        "| Nr | Name | Place |\n|---|---|---|\n" + "".join(f"| {i} | Anna Lind | the harbour |\n" for i in range(40)),
        "He laughed: " + "ha" * 300,
        "The result is 0." + "3" * 500,
        "这座茶馆很有名" * 30,
        FAQ + FAQ,
    ],
)
def test_loops_are_caught(text: str) -> None:
    (measure,) = repetition(text)
    assert not measure.passed
    assert measure.detail.startswith("repeated: ") and len(measure.detail) <= 100


def test_the_share_is_that_of_the_loop() -> None:
    for seed in range(20):
        unique, loop = sentence(seed, 100), sentence(1000 + seed, 10)
        for times in (0, 2, 5, 20):
            text = f"{unique}\n" + f"{loop}\n" * times
            expected = len(loop) * max(times - 1, 0) / (len(text) + 1)
            assert measured(text) == pytest.approx(expected, abs=0.06)


def test_long_words_that_do_not_loop() -> None:
    assert repetition("https://example.org/" + sentence(3, 40).replace(" ", "") + " is the address")[0].value == 0


def test_nothing_to_repeat() -> None:
    for text in ("", "\n\n", "!!! ---"):
        assert repetition(text)[0].value is None and repetition(text)[0].passed


@pytest.mark.parametrize(
    "leftover",
    [
        "[[DOCUMENT]]",
        "<|im_start|>",
        "<|im_end|>",
        "<|start_header_id|>",
        "<｜end▁of▁sentence｜>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "</s>",
        "<think>",
        "</think>",
        "<end_of_turn>",
        "\nDocument:\n",
        "\n**Document:**\n",
        "\n### Response:\n",
        "\nHere is the rewritten text:\n",
        "\nHere's the FAQ about bread and salt:\n",
        "\nHere is a list based on the provided document:\n",
        "\nSure! Here are some questions with answers:\n",
        "\n**Here is the markdown table:**\n",
    ],
)
def test_leftovers_are_counted(leftover: str) -> None:
    (measure,) = markup(f"{FAQ}{leftover}{FAQ}")
    assert (measure.value, measure.passed) == (1, False)
    assert measure.detail[1:-1] in leftover.replace("\n", "\\n")
    assert markup(f"{FAQ}{leftover}{FAQ}", f"A manual explains{leftover}as a token.")[0].passed


@pytest.mark.parametrize(
    "text",
    [
        FAQ,
        TABLE,
        "Here is a table of the conversions that you need in a kitchen:\n",
        "Here are the ingredients:\n- flour\n- salt\n",
        "Documents: a passport and a ticket.\n",
        "If a < s and s > b, then `x[i]` is small. See [1] and [the INST manual](x).",
        "Write: let me know if you can come. Then wait for the reply.\n\nSend the letter on Monday.",
        "Let me know if you can come, she wrote. Nobody came.",
    ],
)
def test_texts_without_leftovers(text: str) -> None:
    assert markup(text)[0] == ("markup", 0, True, "")


@pytest.mark.parametrize(
    "text",
    [
        "# Pancakes\n\n### Ingredients:\n- flour\n\n### Instructions:\nMix.",
        "# Pancakes\n\n## Instructions:\nMix.",
        "# Sum\n\n## Input:\nTwo numbers.\n\n## Output:\nOne.",
        "# Ask for a page\n\n### Request:\nGET /x\n\n### Response:\n200",
        "# Visa\n\n**Documents:**\n- passport\n- photo",
    ],
)
def test_headings_that_are_also_labels(text: str) -> None:
    assert markup(text)[0] == ("markup", 0, True, "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("### Instruction:\nName a tree.\n\n### Response:\nAsh.", 2),
        ("Ash.\n\n### Input:\nA bird.\n\n### Response:\nA wren.", 2),
        ("### Instruction:\nName one.\n\n### Input:\nA bird.\n\n### Response:\nA wren.", 3),
        ("### Response:\nAsh.", 1),
        ("Ash.\n\n**Document:**\nA tree.", 1),
    ],
)
def test_labels_of_training_examples(text: str, value: int) -> None:
    assert markup(text)[0].value == value
    # Marks make no difference to whether the source says it.
    source = "INSTRUCTION: none. **Input**: none. Response: none. Document: a tree."
    assert markup(text, source)[0].passed


@pytest.mark.parametrize("end", ["Let me know if you need anything else!", "I hope this FAQ was of help to you."])
def test_closing_remarks(end: str) -> None:
    assert not markup(f"{FAQ}\n{end}")[0].passed
    assert not markup(f"The loaf cools on a rack. {end}\n")[0].passed
    assert markup(f"{end}\n{FAQ}")[0].passed


@pytest.mark.parametrize(
    "end",
    [
        "If you have any further questions, feel free to ask!",
        "If you need more details, please don't hesitate to ask.",
        "If you'd like another step explained, just let me know!",
        "Feel free to ask if anything is unclear.",
        "Would you like me to delve deeper into any specific aspect of this topic?",
        "**Would you like me to delve deeper into any of this?** (For example, into the rest.)",
        "Would you like me to create another problem based on this document?",
        "Would you like another word problem?",
        "Do you want me to:\n\n* Explain a step in more detail?\n* Give examples?",
        "Would you like me to delve deeper into one of these:\n\n1. Salt?\n2. Steam?\n",
        "Is there anything else I can help you with?",
    ],
)
def test_closing_remarks_of_assistants(end: str) -> None:
    assert markup(f"{FAQ}\n---\n\n{end}")[0].value == 1
    assert markup(f"{end}\n\n{FAQ}")[0].passed
    assert markup(f"{FAQ}\n{end}", f"The letter ends:\n{end}")[0].passed


@pytest.mark.parametrize(
    "end",
    [
        "If you have questions, call your bank.",
        "If you have any questions, feel free to ask your bank.",
        "If you need more time, let the bank know.",
        "Feel free to ask a neighbour.",
        "Feel free to reach out to your council.",
        "**Do you want me to sign it?**\n- Yes, both sides.\n- Bring a pen.",
        "**Q: Would you like me to pay?**\nA: Yes.",
        "## Do you want me to:\n\n- pay? Yes.",
        "Would you like me to pay? No, it is free.",
        "Phrases to learn:\n- Would you like me to wait?\n- Do you want me to go?",
        "“Would you like me to wait?”",
        "What would you like me to add?",
        "Would you like more salt?",
    ],
)
def test_endings_that_belong_to_the_text(end: str) -> None:
    assert markup(f"{FAQ}\n{end}")[0] == ("markup", 0, True, "")


@pytest.mark.parametrize(
    ("begin", "passed"),
    [
        ("Okay, let's create a tutorial based on the document.", False),
        ("Alright, let's turn this document into a tutorial!", False),
        ("Let’s turn this article into a FAQ:", False),
        ("Based on the document provided, here is a step-by-step tutorial:", False),
        ("As requested, here is the tutorial:", False),
        ("Let's make bread.", True),
        ("Let's create a table for the cake.", True),
        ("Okay, let's make bread!", True),
        ("Based on the document, the court decided:", True),
        ("Based on his letters, here is a list of the towns:", True),
    ],
)
def test_announcements(begin: str, passed: bool) -> None:
    assert markup(f"{begin}\n\n{FAQ}")[0].passed is passed
    assert markup(f"{begin}\n\n{FAQ}", f"It says: {begin}")[0].passed


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a ",
        "ab",
        "| a ",
        "|\n",
        "\n",
        "<",
        "<|a",
        "[",
        "Here is the a ",
        "Here is the FAQ ",
        "**",
        "1.",
        "é",
        "茶",
        "ha.",
        "\x1c",
        "let's create a ",
        "### Response:\n",
        "- Would you like me to:\n",
        "If you have (",
        "As requested, here is a ",
        "ที่",
    ],
)
def test_time_is_linear(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    for check in (length, repetition, markup):
        with cpu_limit():
            check(text, text)
            check(text + ":")
