import re
import sys

import pytest

from speechllm import provenance


@pytest.mark.parametrize("program", ["/env/bin/speechllm", "/checkout/speechllm/__main__.py"])
def test_the_recorded_command_begins_with_speechllm(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "train", "--set", "prompt.template=a b"])
    assert provenance.run_record()["command"] == "speechllm train --set 'prompt.template=a b'"


def test_a_run_names_its_hardware() -> None:
    assert re.match(r"\d+ x \w", str(provenance.run_record()["hardware"]))
