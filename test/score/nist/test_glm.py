"""Global mapping compared with csrfilt.sh."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from speechllm.errors import DataError
from speechllm.score.nist.glm import read_glm

BIN = Path("/usr/lib/sctk/bin")
HEADER = """\
;; what the first character of the file is, begins a comment
* name "test"
* desc "rules of our own"
* format = 'NIST1'
* max_nrules = '100'
* copy_no_hit = 'T'
* case_sensitive = 'F'
"""
RULES = """\
UH => %HESITATION / [ ] __ [ ]
[UM] => %HESITATION / [ ] __ [ ]
"OKAY" => "OK" / [ ] __ [ ]
I'M => {I'M / I AM} / [ ] __ [ ]
GONNA => {GONNA / GOING TO} / [ ] __ [ ]
TV => T. V. / [ ] __ [ ]
A LOT => ALOT / [ ] __ [ ]
A LOT OF => LOTTA / [ ] __ [ ]
NOISE => / [ ] __ [ ]
DR => DOCTOR / [ ] __ [ JONES]
RIGHT => ALRIGHT / [ALL ] __ [ ]
B => C / [ ] __ [ ]
C => D / [ ] __ [ ]
ING => IN' / __ [ ] ;; so it is said
"""
WORDS = ["uh", "um", "okay", "gonna", "tv", "a", "lot", "of", "noise", "dr", "jones", "all", "right", "b", "c", "going"]
WORDS += ["(uh)", "two-fold", "wor-", "-ord", "uh-huh", "I", "(well you)"]


def theirs(text: str, glm: Path, *options: str) -> str:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:{BIN}"}
    command = [BIN / "csrfilt.sh", "-dh", *options, glm]
    return subprocess.run(command, input=text, env=environment, capture_output=True, text=True, check=True).stdout


def spaced(text: str) -> str:
    return " ".join(text.replace("{", " { ").replace("}", " } ").split())


@pytest.fixture
def glm(tmp_path: Path) -> Path:
    path = tmp_path / "test.glm"
    path.write_text(f"{HEADER}{RULES}")
    return path


@pytest.mark.skipif(not BIN.is_dir(), reason="sctk is not installed")
def test_texts_are_csrfilts(glm: Path) -> None:
    assert shutil.which("perl")
    draw = random.Random(0)
    texts = [" ".join(draw.choices([*WORDS, "i'm"], k=draw.randint(1, 12))) for _ in range(2000)]
    found = theirs("".join(f"{text}\n" for text in texts), glm, "-i", "txt").splitlines()
    ours = read_glm(glm, "stm", "ref")
    assert [ours(text) for text in texts] == [spaced(text) for text in found]


@pytest.mark.skipif(not BIN.is_dir(), reason="sctk is not installed")
def test_rules_may_be_of_one_side_only(glm: Path) -> None:
    glm.write_text(f'{HEADER}A => X / [ ] __ [ ]\n;; INPUT_DEPENDENT_APPLICATION = "hyp|rttm"\nB => Y / [ ] __ [ ]\n')
    for side, expected in (("ref", "X B"), ("hyp", "X Y")):
        line = "f 1 s 0 1 <o> a b\n"
        assert theirs(line, glm, "-i", "stm", "-t", side).endswith(f"{expected}\n")
        assert read_glm(glm, "stm", side)("a b") == expected  # type: ignore[arg-type]


def test_alternatives_of_an_optional_word_are_optional_words(glm: Path) -> None:
    assert read_glm(glm, "stm", "ref")("(i'm) gonna") == "{ (I'M) / (I) (AM) } { GONNA / GOING TO }"


def test_a_file_without_rules_is_none(glm: Path) -> None:
    glm.write_text(HEADER)
    with pytest.raises(DataError, match="found no rule for ctm and hyp"):
        read_glm(glm, "ctm", "hyp")
