import random

import pytest

from blocks.filters.checks.faq import faq
from tests.conftest import cpu_limit

GOOD = [
    ("**Q: What is a tide pool?**\nA: A small sea.\n\n**Q: Who lives there?**\nA: Crabs and snails.", 2),
    ("Q: What is a tide pool?\nA: A small sea.\nQ: Who lives there?\nA: Crabs and snails.", 2),
    ("Q1. What is it?\nA1. A small sea.\n\nQ2. Who lives there?\nA2. Crabs.\n\nQ3. Is it deep?\nA3. No.", 3),
    ("Question: What is it?\nAnswer: A small sea.\n\nQuestion: Is it deep?\nAnswer: No.", 2),
    ("**Question 1:** What is it?\n**Answer:** A small sea.\n\n**Question 2:** Is it deep?\n**Answer:** No.", 2),
    (
        "### Question 1\n\nWhat is it?\n\n**Answer:**\nA small sea.\n\n### Question 2\n\nIs it deep?\n\n"
        "**Answer:**\nNo.",
        2,
    ),
    ("1. **Q:** What is it?\n   **A:** A small sea.\n2. **Q:** Is it deep?\n   **A:** No.", 2),
    ("Q: What is it? A: A small sea. Q: Is it deep? A: No.", 2),
    ("**Q: What is it?** A: A small sea.\n\n**Q: Is it deep?** A: No.", 2),
    ("Q: What is it? It is a small sea.\nQ: Is it deep? It is not.", 2),
    ("Q: Explain what tides are.\nA: The sea rises and falls.\nQ: Which of these?\n- red\n- blue\nA: Blue.", 2),
    ("# FAQ\n\n## What is it?\n\nA small sea.\n\n## Is it deep?\n\nNo. Why would it be? It is small.", 2),
    ("# What Is a Tide Pool?\n\n## What lives there?\nCrabs.\n\n## How to get there\nBy bus.", 2),
    (
        "## Basics\n\n### 1. What is it?\nA small sea.\n\n## Advanced\n\n### 2. Is it deep?\nNo.\n\n"
        "#### Depth\nOne metre.",
        2,
    ),
    ("### What is it?\nIt has:\n- **What**: salt\n- **Where**: the shore\n\n### **Is it deep?**\nNo.", 2),
    ("## Questions\nSome text.\n\n## What is it?\nA sea.\n\n## Is it deep?\nNo.\n\n## Conclusion\nIt is nice.", 2),
    ("## What is it?\nA sea.\n\n## Is it deep?\nNo.\n\n## Final Thoughts\nIt is nice.", 2),
    ("**What is it?**\n\nA small sea.\n\n**Is it deep?**\n\nNo.", 2),
    (
        "**Basics**\n\n**What is it?**\nA small sea.\n\n**More**\n\n**Is it deep?**\nNo.\n\n**How do I go?**\n"
        "1. Walk.\n2. Swim.",
        3,
    ),
    ("1. **What is it?** A small sea.\n2. **Is it deep?** No.\n3. **Why?** It dries.", 3),
    ("1. **What is it?**\n   - A small sea.\n   - **List**: salt.\n\n2. **Is it deep?**\n   - No.", 2),
    ("- **What is it?** It is a small sea.\n- **Is it deep?** It is not.", 2),
    ("* **What is it?**: A small sea.\n* **Is it deep?**: No.", 2),
    ("1. What is it?\nA small sea.\n\n2. How do I go?\n1. Walk.\n2. Swim.\n\n3. Is it deep?\nNo.", 3),
    ("1. What is it? A small sea.\n2. Is it deep? No.", 2),
    ("- What is it? It is a small sea.\n- Is it deep? It is not.", 2),
    ("What is it?\n\nA small sea. Salty? Yes.\n\nIs it deep?\n\nNo.", 2),
    ("What is it?\nA small sea.\nIs it deep?\nNo.", 2),
    ("**1. What is it?**\nA small sea.\n\n**2. Is it deep?**\nNo.", 2),
    ("__What is it?__\nA small sea.\n\n__Is it deep?__\nNo.", 2),
    ("**What is it?\nA small sea.\n\n**Is it deep?\nNo.", 2),
    ("Frequently Asked Questions:\n\nQ) What is it?\nA) A small sea.\n\nQ) Is it deep?\nA) No.", 2),
    ("## What is it?\n```\n# What? no heading\nmake\n```\n\n## Is it deep?\nNo.", 2),
    ("**What is it?**\nA sea.\n\n**Key facts**\n- salt\n\n**Is it deep?**\nNo.", 2),
    ("## What is it?\nSalty? Yes.\n\n## Is it deep?\nDeep? No.\nWide? No.", 2),
    (
        "## What is it?\n\n**Salty?** Yes.\n**Old?** No.\n**Big?** No.\n\n## How?\n\n**Deep?** No.\n**Wide?** No.",
        5,
    ),
    ("1. What is it?\n    1. Salty? Yes.\n    2. Old? No.\n2. Is it deep?\n    No.", 2),
    ("Q: Which is it?\nA. a sea\nB. a lake\nA: A sea.\n\nQ: Is it deep?\nA: No.", 2),
    ("**Describe a tide pool.**\nA small sea.\n\n**Explain its depth.**\nIt is shallow.", 2),
]


@pytest.mark.parametrize(("text", "pairs"), GOOD)
def test_well_formed(text, pairs):
    measure, leaning = faq(text)
    assert measure == ("faq", pairs, True, "")
    assert leaning == ("faq_self_contained", 0, True, "")


# One pair of labels, questions and answers by language; the way of marking is what differs from English.
ELSEWHERE = {
    "es": ("Pregunta", "Respuesta", "¿Qué es la marea?", "El mar sube y baja.", "¿Dónde se ve?", "En la costa."),
    "fr": ("Question", "Réponse", "Qu'est-ce que la marée ?", "La mer monte.", "Où la voit-on ?", "Sur la côte."),
    "de": ("Frage", "Antwort", "Was sind Gezeiten?", "Das Meer steigt und fällt.", "Wo sieht man sie?", "Am Meer."),
    "it": ("Domanda", "Risposta", "Che cos'è la marea?", "Il mare sale e scende.", "Dove si vede?", "Sulla costa."),
    "pt": ("Pergunta", "Resposta", "O que é a maré?", "O mar sobe e desce.", "Onde se vê?", "Na costa."),
    "ru": ("Вопрос", "Ответ", "Что такое прилив?", "Море поднимается.", "Где его видно?", "На берегу."),
    "el": ("Ερώτηση", "Απάντηση", "Τι είναι η παλίρροια;", "Η θάλασσα ανεβαίνει.", "Πού φαίνεται;", "Στην ακτή."),
    "hi": ("प्रश्न", "उत्तर", "ज्वार क्या है?", "समुद्र ऊपर उठता है।", "यह कहाँ दिखता है?", "तट पर।"),
    "zh": ("问题", "答案", "什么是潮汐？", "海水上升和下降。", "在哪里可以看到？", "在海边。"),
    "ja": (
        "質問",
        "回答",
        "潮汐とは何ですか？",
        "海が上がり下がりすることです。",
        "どこで見られますか？",
        "海岸です。",
    ),
    "ko": (
        "질문",
        "답변",
        "조석이란 무엇인가요?",
        "바다가 오르내리는 일입니다.",
        "어디서 볼 수 있나요?",
        "해안에서요.",
    ),
    "ar": ("السؤال", "الإجابة", "ما هو المد؟", "ارتفاع البحر.", "أين يظهر؟", "على الساحل."),
    "th": ("คำถาม", "คำตอบ", "น้ำขึ้นน้ำลงคืออะไร?", "ทะเลขึ้นและลง", "เห็นได้ที่ไหน?", "ที่ชายฝั่ง"),
}
MARKS = [
    "**{q} 1:** {q1}\n**{a}:** {a1}\n\n**{q} 2:** {q2}\n**{a}:** {a2}",
    "**{q} 1**\n{q1}\n\n**{a}**\n{a1}\n\n**{q} 2**\n{q2}\n\n**{a}**\n{a2}",
    "{q}: {q1}\n{a}: {a1}\n{q}: {q2}\n{a}: {a2}",
    "{q}1：{q1}\n{a}：{a1}\n{q}2：{q2}\n{a}：{a2}",
    "Q：{q1}\nA：{a1}\n\nQ：{q2}\nA：{a2}",
    "### {q1}\n\n{a1}\n\n### {q2}\n\n{a2}",
    "**{q1}**\n{a1}\n\n**{q2}**\n{a2}",
    "1. **{q1}** {a1}\n2. **{q2}** {a2}",
    "- {q1}\n  {a1}\n- {q2}\n  {a2}",
    "{q1}\n\n{a1}\n\n{q2}\n\n{a2}",
]


@pytest.mark.parametrize("language", ELSEWHERE)
@pytest.mark.parametrize("marks", MARKS)
def test_other_languages(language, marks):
    parts = dict(zip(("q", "a", "q1", "a1", "q2", "a2"), ELSEWHERE[language], strict=True))
    assert faq(marks.format(**parts))[0] == ("faq", 2, True, "")
    # What is bad in English is bad in any language.
    assert faq(marks.format(**parts | {"q2": parts["q1"]}))[0].detail.startswith("duplicate_question")
    fault = faq(marks.format(**parts | {"a1": ""}))[0].detail.partition(":")[0]
    assert fault in ("empty_answer", "question_without_answer")


@pytest.mark.parametrize("language", sorted(ELSEWHERE.keys() - {"th"}))  # Thai marks no ends of sentences
def test_one_line_in_other_languages(language):
    q, a, q1, a1, q2, a2 = ELSEWHERE[language]
    assert faq(f"{q}: {q1} {a}: {a1} {q}: {q2} {a}: {a2}")[0] == ("faq", 2, True, "")


@pytest.mark.parametrize(
    "text",
    [
        "P: ¿Qué es?\nR: Un mar.\n\nP: ¿Es hondo?\nR: No.",
        "Q : Qu'est-ce que c'est ?\nR : Une mer.\n\nQ : Est-elle profonde ?\nR : Non.",
        "P: ¿Qué es? R: Un mar. P: ¿Es hondo? R: No.",
        "F: Was ist es?\nA: Ein Meer.\n\nF: Ist es tief?\nA: Nein.",
        "В: Что это?\nО: Море.\n\nВ: Оно глубокое?\nО: Нет.",
        "س1: ما هو؟\nج1: بحر.\n\nس2: هل هو عميق؟\nج2: لا.",
        "问：这是什么？答：海。问：它深吗？答：不深。",
        "问题一：这是什么？\n答：海。\n\n问题二：它深吗？\n答：不深。",
        "Question n° 1 : Qu'est-ce que c'est ?\nRéponse : Une mer.\n\nQuestion n° 2 : Où ?\nRéponse : Là.",
        "Вопрос №1: Что это?\nОтвет: Море.\n\nВопрос №2: Где?\nОтвет: Там.",
        "प्रश्न १: यह क्या है?\nउत्तर: समुद्र।\n\nप्रश्न २: कहाँ?\nउत्तर: वहाँ।",
        "1. 这是什么？这是海。\n2. 它深吗？不深。",
        "Τι είναι\u037e\n\nΜια θάλασσα.\n\nΕίναι βαθιά\u037e\n\nΌχι.",
        "## 这是什么？\n海。\n\n## 它深吗？\n不深。\n\n## 总结\n很好。",
        "## ¿Qué es?\nUn mar.\n\n## ¿Es hondo?\nNo.\n\n## Conclusión\nEs bonito.",
        # A question within an answer is none of the FAQ's.
        "これは何ですか？\n\n海です。なぜ塩辛いのでしょうか？塩があるからです。\n\n深いですか？\n\nいいえ。",
    ],
)
def test_ways_of_other_languages(text):
    assert faq(text)[0] == ("faq", 2, True, "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("海很深。\n\n它很咸。", "no_pairs"),
        ("Το κύμα είναι ψηλό.\n\nΗ θάλασσα είναι βαθιά.", "no_pairs"),
        # In other texts than Greek a semicolon ends no question, behind whatever letter.
        ("**The angle α; the angle β;**\nThey are equal.\n\n**The sides;**\nThey are not.", "no_pairs"),
        ("问题：海很深。\n答案：是的。\n\n问题：它深吗？\n答案：不深。", "not_a_question"),
        ("Pregunta: ¿Qué es?\nRespuesta:\n\nPregunta: ¿Es hondo?\nRespuesta: No.", "empty_answer"),
        ("Respuesta: Un mar.\n\nPregunta: ¿Es hondo?\nRespuesta: No.", "answer_without_question"),
        ("Вопрос 1: Что это?\nОтвет 2: Море.\n\nВопрос 2: Где?\nОтвет 1: Там.", "wrong_answer_number"),
    ],
)
def test_faults_in_other_languages(text, fault):
    assert faq(text)[0].detail.partition(":")[0] == fault


@pytest.mark.parametrize(
    "text",
    [
        "Q: Which is it?\n- D: a lake\n- F: a sea\nA: A sea.\n\nQ: Is it deep?\nA: No. P: no pressure. R: no rain.",
        "## C. What is it?\nA sea.\n\n## R. Is it deep?\nNo.",
        "**What is it?**\nR. Lund called it a sea.\n\n**Is it deep?**\nNo.",
    ],
)
def test_letters_that_are_no_labels(text):
    assert faq(text)[0] == ("faq", 2, True, "")


A, B = "A: A small sea.", "A: It is not."


@pytest.mark.parametrize(
    ("text", "fault", "pairs"),
    [
        ("", "no_pairs", 0),
        ("Tide pools are small seas.\n\nThey are not deep.", "no_pairs", 0),
        ("1. Walk.\n2. Swim.", "no_pairs", 0),
        (f"Q: What is it?\n{A}", "too_few_pairs", 1),
        ("\n".join(f"Q: What is {n}?\nA: It is {n} and no more." for n in range(31)), "too_many_pairs", 31),
        (f"Q: What is it?\nQ: Is it deep?\n{B}", "question_without_answer", 1),
        (f"Q: What is it?\n{A}\nQ: Is it deep?", "question_without_answer", 1),
        ("## What is it?\n\n## Is it deep?\nNo.", "question_without_answer", 1),
        ("**What is it?**\n\n**Is it deep?**\nNo.", "question_without_answer", 1),
        ("1. What is it?\n2. Is it deep?\n3. Why?", "question_without_answer", 0),
        (f"Q: What is it?\nA:\nQ: Is it deep?\n{B}", "empty_answer", 1),
        (f"Q: What is it?\nA: ...\nQ: Is it deep?\n{B}", "empty_answer", 1),
        (f"Q: What is it?\nA: [Insert answer here]\nQ: Is it deep?\n{B}", "empty_answer", 1),
        (f"Q:\n{A}\nQ: Is it deep?\n{B}", "empty_question", 1),
        (f"Q: What is it?\n{A}\nQ: what is IT\n{B}", "duplicate_question", 2),
        (f"Q: What is it?\n{A}, really.\nQ: Is it deep?\n{A} Really!", "duplicate_answer", 2),
        (f"Q: The sea is deep.\n{A}\nQ: Is it deep?\n{B}", "not_a_question", 2),
        ("## What is it?\nA sea.\n\n## The depth\nIt is low.\n\n## Is it deep?\nNo.", "not_a_question", 3),
        ("**What is it?**\nA sea.\n\n**The depth**\nIt is low.\n\n**Is it deep?**\nNo.", "not_a_question", 3),
        ("1. What is it?\nA sea.\n2. The depth\nIt is low.\n3. Is it deep?\nNo.", "not_a_question", 3),
        (f"{A}\nQ: What is it?\n{A}\nQ: Is it deep?\n{B}", "answer_without_question", 2),
        (f"Q: What is it?\n{A}\n{B}\nQ: Is it deep?\n{B}", "answer_without_question", 2),
        ("Q1: What is it?\nA2: A sea.\nQ2: Is it deep?\nA1: No.", "wrong_answer_number", 2),
    ],
)
def test_faults(text, fault, pairs):
    measure = faq(text)[0]
    assert not measure.passed
    assert measure.detail.partition(":")[0] == fault
    assert measure.value == pairs


def test_short_answers_may_come_twice():
    assert faq("Q: Is it deep?\nA: No.\nQ: Is it wide?\nA: No.")[0].passed


@pytest.mark.parametrize(
    "answer",
    [
        "According to the document, it is deep.",
        "As mentioned above, it is deep.",
        "It is deep, as stated earlier.",
        "See the previous question.",
        "As noted in the previous answer, it is deep.",
        "The text states that it is deep.",
        "The passage does not say so.",
        "In this article, it is called deep.",
        "Based on the provided text, it is deep.",
        "See question 2 for that.",
        "The depth described in the text is 4 m.",
        "As discussed, it is deep.",
        "The above passage gives 4 m.",
        "What does the text say? It says 4 m.",
    ],
)
def test_leaning_answers(answer):
    texts = [f"Q: What is {n}?\nA: It is {n}, no more." for n in range(3)]
    measure = faq("\n".join([*texts, f"Q: Is it deep?\nA: {answer}"]))[1]
    assert measure.value == 0.25
    assert not measure.passed
    assert measure.detail.startswith('"')
    assert faq("\n".join([*texts, f"Q: Is it deep?\nA: {answer}"]), max_leaning=0.25)[1].passed


@pytest.mark.parametrize(
    "answer",
    [
        "The document must be signed by both.",
        "Send a text message.",
        "The water above is warm.",
        "Earlier ships were slower; previously they had sails.",
        "As mentioned in Genesis, it rained.",
        "The last question of the exam is hard.",
        "Article 5 of the treaty says so.",
        "In the text of the treaty it is called deep.",
        "The passage of time shows it.",
    ],
)
def test_answers_that_stand_alone(answer):
    assert faq(f"Q: What is it?\nA: A sea.\nQ: Is it deep?\nA: {answer}")[1].value == 0


def test_nothing_to_lean_without_pairs():
    assert faq("A text.")[1] == ("faq_self_contained", None, True, "nothing to check")


STYLES = [
    "Q: {question}\nA: {answer}",
    "**Q{n}: {question}**\nA{n}: {answer}",
    "**Question:** {question}\n\n**Answer:** {answer}",
    "### {question}\n\n{answer}",
    "## {n}. {question}\n{answer}",
    "**{question}**\n\n{answer}",
    "{n}. **{question}**\n   {answer}",
    "{n}. {question}\n\n{answer}",
    "{n}. {question} {answer}",
    "- **{question}** {answer}",
    "- {question} {answer}",
    "{question}\n\n{answer}",
]
QUESTIONS = ["What is {}?", "How deep is {}?", "Where can I see {}?", "Why do people visit {}?", "Is {} old?"]
ANSWERS = [
    "{} lies in Italy and has fish.",
    "It is {}, a lake that is old.\n\nPeople swim there.",
    "Ships cross {} in May.",
]


def build(rng, style, broken=None):
    """A well-formed FAQ, or one in which the pair of that number lost its answer, or was said before."""
    names = rng.sample(["Garda", "Como", "Iseo", "Orta", "Bled", "Ohrid", "Onega", "Ladoga"], rng.randint(3, 8))
    texts = []
    for n, name in enumerate(names, 1):
        question, answer = rng.choice(QUESTIONS).format(name), rng.choice(ANSWERS).format(name)
        if n == 2 and broken == "question_without_answer":
            answer = ""
        texts.append(STYLES[style].format(n=n, question=question, answer=answer))
        if n == 2 and broken == "duplicate_question":
            texts.append(STYLES[style].format(n=n, question=question, answer="Something else is said here."))
    return len(names), "\n\n".join(texts)


@pytest.mark.parametrize("style", range(len(STYLES)))
def test_built_faqs(style):
    for seed in range(40):
        count, text = build(random.Random(seed), style)
        assert faq(text)[0] == ("faq", count, True, "")
        assert faq(build(random.Random(seed), style, "duplicate_question")[1])[0].detail.startswith(
            "duplicate_question"
        )
        _, text = build(random.Random(seed), style, "question_without_answer")
        found = faq(text)[0]
        assert found.detail.partition(":")[0] == ("empty_answer" if "A" in STYLES[style] else "question_without_answer")
        assert found.value == count - 1


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "?" * 1_000_000,
        "? " * 500_000,
        "What? " * 160_000,
        "What?\n" * 160_000,
        "- a?\n" * 200_000,
        "1. What is it? It is.\n" * 45_000,
        "**" * 500_000,
        "**a" * 330_000,
        "**What is it?\n" * 70_000,
        "# " * 500_000,
        "#\n" * 500_000,
        "Q: " * 330_000,
        "Q:\n" * 330_000,
        "A:\n" * 330_000,
        "Q: a?\nA: " + "in the " * 140_000,
        "Q: a?\nA: " + "[" * 1_000_000,
        "Q: a?\nA: " + " " * 1_000_000,
        "Q: a?\n" + "b\n" * 500_000,
        "Q (" * 330_000,
        "\n" * 1_000_000,
        "> " * 500_000,
        "_" * 1_000_000,
        "`" * 1_000_000,
        "？" * 1_000_000,
        ". P: " * 200_000,
        "。问" * 500_000,
        "α;" * 500_000,
    ],
    ids=range(28),
)
def test_hostile(text):
    with cpu_limit():
        assert not faq(text)[0].passed
