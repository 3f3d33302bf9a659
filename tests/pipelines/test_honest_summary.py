"""What the summary says against what was really done to 1,000 samples, fault by fault and format by format."""

from __future__ import annotations

from collections import Counter

from tests.conftest import finephrase, rejected, samples, summary, write_jsonl
from tests.writer import FAULTS, FORMATS, document


def test_the_summary_says_what_was_done_to_the_samples(tmp_path, start_mock):
    writer = start_mock("--writes")
    rows = [{"id": f"bridge-{i}", "text": document(i)} for i in range(250)]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    arguments = ["--server", "endpoint", "--endpoint", writer.url, "--tokenizer", "none", "--chunk-size", 100]
    done = finephrase("--input", source, "--output", tmp_path / "run", *arguments)
    assert done.returncode == 0, done.stdout

    spoilt = Counter((entry["fields"]["format"], entry["fields"]["fault"]) for entry in writer.requests())
    assert spoilt.total() == 1000 and {fault for _, fault in spoilt} == {"", *FAULTS}
    result = summary(tmp_path / "run")
    for name in FORMATS:
        due: dict[str, Counter[str]] = {"rejected": Counter(), "flagged": Counter()}
        for fault, (formats, becomes, reason) in FAULTS.items():
            if name in formats:
                due[becomes][reason] += spoilt[name, fault]
        assert result["samples"]["rejected"][name] == due["rejected"], name
        assert result["written"][name] == 250 - due["rejected"].total(), name
        # Samples that are rejected may be flagged besides.
        for check, count in due["flagged"].items():
            assert result["checks"][check]["formats"][name]["flagged"] >= count, (name, check)

    # And so do the rows themselves.
    assert Counter((row["format"], row["reason"]) for row in rejected(tmp_path / "run")) == Counter(
        {(name, reason): n for name, counts in result["samples"]["rejected"].items() for reason, n in counts.items()}
    )
    flagged = Counter()
    for row in samples(tmp_path / "run"):
        flagged.update((row["format"], entry["check"]) for entry in row["checks"] if entry["verdict"] == "flag")
    flags = {fault: reason for fault, (_, becomes, reason) in FAULTS.items() if becomes == "flagged"}
    assert flagged == {(name, flags[fault]): count for (name, fault), count in spoilt.items() if fault in flags}
    # Answers from one mould that differ in names and numbers alone: that is said, too.
    raised = {(alarm["format"], alarm["measure"]) for alarm in result["alarms"]}
    assert raised == {("math", "near_duplicates"), ("tutorial", "near_duplicates")}
