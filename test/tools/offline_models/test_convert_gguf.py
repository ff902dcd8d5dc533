from pathlib import Path

import pytest
import torch
import transformers
from offline_models import convert_gguf

SMOLLM2 = Path(__file__).parents[3] / "downloads" / "models" / "smollm2-135m-instruct"
needs_smollm2 = pytest.mark.skipif(not SMOLLM2.is_dir(), reason="run tools/offline_models/fetch_models.py first")


@pytest.mark.parametrize("names", [[], ["a.gguf", "b.gguf"]], ids=["none", "two"])
def test_one_file_is_expected(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"found {len(names)} GGUF files, expected one"):
        convert_gguf.convert(tmp_path, tmp_path)


@needs_smollm2
def test_smollm2s_tokenizer() -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(SMOLLM2)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    message = [{"role": "user", "content": "Hello"}]
    prompt = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.tokenize("in 1984") == ["in", "Ġ", "1", "9", "8", "4"]
    text = "Call Mary on Monday\n\n at 12:30, it's late!"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@needs_smollm2
def test_smollm2_answers() -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(SMOLLM2)
    assert model.dtype == torch.float16
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert model.generation_config.eos_token_id == 2
    model, tokenizer = model.float().eval(), transformers.AutoTokenizer.from_pretrained(SMOLLM2)
    message = [{"role": "user", "content": "What is the capital of France? Answer briefly."}]
    ids_BU = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**ids_BU, max_new_tokens=12, do_sample=False)[0, ids_BU["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == 2
