"""Write the hypotheses of segments as a CTM file, whose words can be scored against an STM file of the recordings.

The words of a segment are spread evenly over its time, since an LLM does not say when each is heard. DATA may hold
Kaldi's reco2file_and_channel; without it every recording is channel 1 of a file of its name.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory, with segments")
    parser.add_argument("hyp", metavar="HYP", type=Path, help="hypotheses: a Kaldi text or .trn file")
    parser.add_argument("out", metavar="OUT.ctm", type=Path, help="file to write")


def run(args: Namespace) -> None:
    """Place the segments, and write."""
    from speechllm.data.kaldi.data_dir import read_data_dir
    from speechllm.data.kaldi.recordings import files_and_channels
    from speechllm.score import transcripts
    from speechllm.score.directory import write_whole
    from speechllm.score.nist import ctm
    from speechllm.score.nist.stm import Segment

    utts = read_data_dir(args.data, need_text=False).utts
    places = files_and_channels(args.data, [utt.recording or utt.utt_id for utt in utts])
    segments = {
        utt.utt_id: Segment(
            recording=places[utt.recording or utt.utt_id][0],
            channel=places[utt.recording or utt.utt_id][1],
            speaker=utt.speaker,
            start=utt.start,
            end=utt.start + utt.duration,
        )
        for utt in utts
    }
    words = ctm.words_of(segments, transcripts.read(args.hyp), args.hyp)
    write_whole(args.out, ctm.ctm_lines(words))
    print(f"{args.out}: {len(words)} words of {len(segments)} segments")
