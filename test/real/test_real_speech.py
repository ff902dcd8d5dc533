"""Real weights on real recordings: five LibriVox utterances of Debian's pocketsphinx-testdata."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers

from speechllm.connectors import whisper_ctc
from speechllm.data.audio.read import read_audio
from speechllm.data.kaldi.data_dir import Utterance, write_data_dir
from speechllm.data.kaldi.table import read_table
from speechllm.decoders import causal_lm
from speechllm.encoders.whisper import Config
from speechllm.frontends import log_mel
from speechllm.inference.jobs import merge_jobs
from speechllm.inference.run import SetToDecode, baseline
from speechllm.inference.whisper_baseline import WhisperBaseline
from speechllm.score.normalize import normalizer
from speechllm.score.wer import count, score

RECORDINGS = Path("/usr/share/pocketsphinx/test/data/librivox")
MODELS = Path(__file__).parents[2] / "downloads/models"
WHISPER = MODELS / "whisper-tiny.en"
LLM = MODELS / "smollm2-135m-instruct"
pytestmark = pytest.mark.skipif(
    not (RECORDINGS.is_dir() and WHISPER.is_dir()),
    reason="needs Debian's pocketsphinx-testdata and tools/offline_models/fetch_models.py",
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    utts = []
    for line in (RECORDINGS / "transcription").read_text().splitlines():
        text, name = re.fullmatch(r"<s> (.*) </s> \((.*)\)", line.strip()).groups()
        path = RECORDINGS / f"{name}.wav"
        duration = soundfile.info(path).duration
        utts.append(Utterance(utt_id=f"austen-{name[-4:]}", speaker="austen", path=path, duration=duration, text=text))
    folder = tmp_path_factory.mktemp("librivox") / "data"
    write_data_dir(folder, utts)
    return folder


def test_whisper_s_own_decoder_reads_them(data_dir: Path, tmp_path: Path) -> None:
    for job in (1, 2):
        baseline(str(WHISPER), [SetToDecode(source=data_dir, out_dir=tmp_path)], nj=2, job=job)
    reference = read_table(data_dir / "text")
    merge_jobs(tmp_path, reference, 2)
    counts = count(score(reference, read_table(tmp_path / "text"), normalizer("librispeech")))
    assert counts.words == 71
    assert counts.errors <= 6  # measured: 4


def test_what_is_cut_counts_as_truncated(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whisper = WhisperBaseline(str(WHISPER), torch.device("cpu"), num_beams=1)
    samples_N = read_audio(sorted(RECORDINGS.glob("*.wav"))[0], 16000)
    assert [hypothesis.truncated for hypothesis in whisper.transcribe([samples_N, samples_N[:8000]])] == [False, False]
    monkeypatch.setattr(whisper.model.generation_config, "max_length", 8)
    assert whisper.transcribe([samples_N])[0].truncated


@pytest.mark.parametrize("padding", ["window", "masked"])
def test_encoder_and_frontend_equal_transformers(data_dir: Path, padding: str) -> None:
    samples_N = read_audio(RECORDINGS / "sense_and_sensibility_01_austen_64kb-0870.wav", 16000)
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(WHISPER)
    reference = transformers.WhisperModel.from_pretrained(WHISPER, dtype=torch.float32).encoder.eval()
    frontend, encoder = log_mel.Config().build(), Config(path=str(WHISPER), padding=padding).build().eval()
    with torch.inference_mode():
        features = extractor(samples_N, sampling_rate=16000, return_tensors="pt").input_features
        expected_LD = reference(features).last_hidden_state[0]
        feats_TF = torch.from_numpy(frontend.extract(samples_N))
        states_BLD, lens_B = encoder(feats_TF[None], torch.tensor([len(feats_TF)]))
    difference = (states_BLD[0, : lens_B[0]] - expected_LD[: lens_B[0]]).abs()
    assert difference.max() < 0.02 * expected_LD.abs().max()
    assert difference.mean() < 1e-4


def test_true_length_gives_states_like_those_of_the_padded_window(data_dir: Path) -> None:
    samples_N = read_audio(RECORDINGS / "sense_and_sensibility_01_austen_64kb-0870.wav", 16000)
    frontend = log_mel.Config().build()
    feats_TF = torch.from_numpy(frontend.extract(samples_N))
    lens_B = torch.tensor([len(feats_TF)])
    with torch.inference_mode():
        padded, _ = Config(path=str(WHISPER), padding="masked").build()(feats_TF[None], lens_B)
        true, _ = Config(path=str(WHISPER), padding="none").build()(feats_TF[None], lens_B)
    length = true.shape[1]
    cosine = torch.nn.functional.cosine_similarity(padded[0, :length], true[0], dim=-1)
    assert cosine.median() > 0.8
    assert np.isfinite(true.numpy()).all()


@pytest.mark.skipif(not LLM.is_dir(), reason="needs tools/offline_models/fetch_models.py smollm2-135m-instruct")
def test_an_untrained_connector_of_whispers_decoder_names_many_words(data_dir: Path) -> None:
    frontend, encoder = log_mel.Config().build(), Config(path=str(WHISPER), padding="none").build().eval()
    connector = whisper_ctc.Config().build(encoder.output_dim, 576, encoder.segment_states).eval()
    connector.bind_encoder(encoder)
    connector.bind(causal_lm.Config(path=str(LLM)).build())
    found = {}
    with torch.inference_mode():
        for utt_id, path in read_table(data_dir / "wav.scp").items():
            features_TF = torch.from_numpy(frontend.extract(read_audio(Path(path), 16000)))
            states_BLD, lens_B = encoder(features_TF[None], torch.tensor([len(features_TF)]))
            best_M = connector(states_BLD, lens_B).posteriors.log_probs_BMC[0].argmax(-1)
            found[utt_id] = "".join(connector.subwords.texts[i - 1] for i in best_M.unique_consecutive().tolist() if i)
    counts = count(score(read_table(data_dir / "text"), found, normalizer("librispeech")))
    assert counts.words == 71
    assert counts.correct >= 35  # measured: 44
