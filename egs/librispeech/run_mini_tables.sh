#!/usr/bin/env bash
# The paper's tables 1, 2, 3, 4 and 6 in miniature, on Mini LibriSpeech and synthesised novels; scores go to one file.
#
#   LIBRISPEECH=/path/to/LibriSpeech ./run_mini_tables.sh                 all rows, on a GPU
#   LIBRISPEECH=/path/to/LibriSpeech ./run_mini_tables.sh --ngpu 0        rows that are feasible on a CPU, from dumped states
#   ./run_mini_tables.sh --rows "main table3_qf40" --seeds "1 2 3"        some rows, several times
#
#   --rows       rows, names of conf/mini/*.yaml; those of table 6 start from other rows and run last
#   --seeds      training seeds of each row, all from the CTC pre-training of the first seed; experiments of the first seed have the
#                names of the rows, and the rows of table 6 need them
#   --align_steps  steps of CTC pre-training without padding, once for each kind of connector
#   --ngpu       GPUs; 0 is the CPU: fewer steps, from dumped states
#   --nj         parallel jobs
#   --set        further overrides of every row's YAML; the pre-training has its own padding, batches, steps and learning rate
#   --test_sets  test sets; also decoded shuffled and, for table 6, concatenated up to 60 and 90 s
#   --dry_run    print the commands without running them
#
# LIBRISPEECH must contain train-clean-5 and the test sets. Get the models once: ../../tools/offline_models/fetch_models.py whisper-tiny.en whisper-base.en smollm2-135m-instruct qwen2.5-coder-1.5b-instruct
# An interrupted run is continued by the same command. The scores of all rows are in exp/mini_tables.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

on_a_cpu="table2_fc75 table2_fc300 table2_ca75 main table3_qf40 table3_qf160 table4_tiny"
everywhere="$on_a_cpu table4_qwen table1_no_concat table1_no_concat_masked table1_no_concat_true_length"
everywhere+=" table6_fc75 table6_qf80 table6_seg_qf80"
command=$(printf '%q ' LIBRISPEECH="${LIBRISPEECH:-}" "$0" "$@")
rows='' seeds=1 align_steps='' ngpu=1 nj=8 set='' test_sets="dev_clean test_clean test_other" dry_run=false
options="rows seeds align_steps ngpu nj set test_sets dry_run"
# shellcheck source=utils/parse_options.sh
. ../../utils/parse_options.sh
# shellcheck source=utils/run_child.sh
. ../../utils/run_child.sh
# shellcheck source=utils/path.sh
. ./path.sh

: "${LIBRISPEECH:?found no corpus folder, expected one; set it, for example: LIBRISPEECH=/path/to/LibriSpeech ./run_mini_tables.sh}"
lengths="_cat60 _cat90" known=$everywhere
if ((ngpu == 0)); then
  lengths='' known=$on_a_cpu align_steps=${align_steps:-1000}
  set="encoder.padding=none data.dump=encoder data.concat=null train.dtype=$(../../utils/cpu_dtype.sh) \
decoder.lora.dropout=0.0 data.batch_size=16 data.batch_duration=240 data.num_workers=0 train.max_steps=250 train.valid_every=250 $set"
fi
rows=${rows:-$known} align_steps=${align_steps:-2000}
pretraining="encoder.padding=none data.concat=null train.init_from=null train.packing=false train.lr=1e-3 \
data.batch_size=16 data.batch_duration=240 train.max_steps=$align_steps train.ctc_steps=$align_steps"
for row in $rows; do
  [[ " $known " == *" $row "* ]] || { echo "$0: --rows $row: not available with --ngpu $ngpu, expected some of $known" >&2; exit 2; }
  $dry_run || run_child speechllm fetch_models --config "conf/mini/$row.yaml" --set "$set"
done
spoken=../spoken_gutenberg/data/train_spoken
[[ -d $spoken ]] || $dry_run || run_child ../spoken_gutenberg/run.sh --stop_stage 1 --nj "$nj"

recipe() { # row, experiment, overrides, suffixes of further test sets, further options
  local sets='' one suffix
  for one in $test_sets; do
    for suffix in '' $4; do sets+="$one$suffix $one${suffix}_shuffled "; done
  done
  run_child ./run.sh --stage 1 --ngpu "$ngpu" --nj "$nj" --inference_nj $((ngpu > 0 ? ngpu : 2)) --dry_run "$dry_run" \
    --train_sets "train_clean_5_train2 $spoken" --valid_set train_clean_5_valid2 --test_sets "$sets" \
    --config "conf/mini/$1.yaml" --tag "$2" --set "$3" "${@:5}"
}

single=() long=()
for row in $rows; do
  if [[ $row == table6_* ]]; then long+=("$row"); else single+=("$row"); fi
done
tables=() pretrained=' '
for seed in $seeds; do
  for row in "${single[@]}" "${long[@]}"; do
    start=$(grep -ho 'mini_\w*_aligned' "conf/mini/$row.yaml" conf/mini/main.yaml | head -n 1)
    if [[ $row != table6_* && $set != *train.init_from=* && $pretrained != *" $start "* ]]; then
      recipe "$row" "$start" "seed=$seed $set $pretraining" '' --stop_stage 4
      pretrained+="$start "
    fi
    name=mini_$row further=''
    [[ $seed == "${seeds%% *}" ]] || name+=_seed$seed
    [[ $row != table6_* && $row != table2_fc75 && $row != main ]] || further=$lengths
    recipe "$row" "$name" "seed=$seed $set" "$further"
    tables+=("exp/$name")
  done
done
$dry_run || run_child speechllm results "${tables[@]}" --output exp/mini_tables.md --command "${command% }"
